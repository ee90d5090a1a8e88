"""The oracle of the cart-pole fleet: SAC trained on the stand-ins themselves, and a random policy beside it.

`python -m tests.benchmarks.oracle_cartpole --json` trains (10 to 20 minutes on one core), evaluates on the fleet's own
evaluation starts and writes `fleet_ingest/standins/cartpole_oracle.json`; `--quick` trains for seconds and writes
nothing. The best of several snapshots is chosen on starts of another seed than those reported. One network, trained on
all robots at once with a history of states and commands, so that it can tell them apart.
"""

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from fleet_ingest.robot.commands import RandomHold
from fleet_ingest.standins.registry import standin
from storage.contracts.starts import evaluation_starts, return_of
from tests.benchmarks.envelope import Figure, envelope, parser, publish

FLEET = standin("cartpole")
SERIALS = [FLEET.serial(i) for i in (1, 2, 3)]
STEPS = FLEET.task.horizon_steps(FLEET.spec)
HISTORY, SEED, VALIDATION_SEED = 6, 0, 77


def features(state: np.ndarray) -> np.ndarray:
    x, v, angle, rate = state
    return np.array([x, v / 3, np.cos(angle), np.sin(angle), rate / 8])


class StandInEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One stand-in; observation: the last HISTORY (features, command / 10) pairs; action: force / 10 N."""

    def __init__(self, serial: str, seed: int) -> None:
        self.robot = FLEET.open(serial)
        self.rng = np.random.default_rng(seed)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (HISTORY * 6,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        start = evaluation_starts(FLEET.task, 1, int(self.rng.integers(2**40)))[0]
        return self.begin(start, int(self.rng.integers(2**40))), {}

    def begin(self, start: dict[str, float], seed: int) -> np.ndarray:
        self.robot.reset(start, seed)
        self.count = 0
        self.rows = [self.robot.read()[1]]
        self.commands: list[np.ndarray] = []
        self.window = np.tile(np.append(features(self.rows[0]), 0.0), (HISTORY, 1))
        return self.window.ravel().astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        command = 10.0 * np.clip(np.asarray(action, dtype=np.float64), -1, 1)
        self.robot.apply(command)
        state = self.robot.read()[1]
        self.rows.append(state)
        self.commands.append(command)
        self.count += 1
        self.window = np.vstack([self.window[1:], np.append(features(state), command / 10)])
        reward = float(FLEET.task.reward_of(FLEET.spec, state, command, np))
        return self.window.ravel().astype(np.float32), reward, False, self.count >= STEPS, {}

    def episode_return(self) -> float:
        return return_of(FLEET.spec, FLEET.task, np.array(self.rows), np.array(self.commands))


def oracle_returns(model: SAC, seed: int, n: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for serial in SERIALS:
        env = StandInEnv(serial, 0)
        found[serial] = []
        for i, start in enumerate(evaluation_starts(FLEET.task, n, seed)):
            observation, done = env.begin(start, i), False
            while not done:
                observation, _, _, done, _ = env.step(model.predict(observation, deterministic=True)[0])
            found[serial].append(env.episode_return())
    return found


def random_returns(seed: int, n: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for serial in SERIALS:
        env = StandInEnv(serial, 0)
        found[serial] = []
        for i, start in enumerate(evaluation_starts(FLEET.task, n, seed)):
            env.begin(start, i)
            source = RandomHold(FLEET.spec, i)
            for _ in range(STEPS):
                env.step(source.next() / 10)
            found[serial].append(env.episode_return())
    return found


def train(total_steps: int, chunks: int) -> tuple[SAC, list[float]]:
    """The best snapshot by validation return, and the curve of validation returns."""
    torch.set_num_threads(1)
    envs = DummyVecEnv([lambda s=s, k=k: StandInEnv(s, k) for k, s in enumerate(SERIALS)])
    model = SAC(
        "MlpPolicy", envs, seed=SEED, device="cpu", learning_rate=7e-4, batch_size=256, gamma=0.98, tau=0.01,
        learning_starts=3_000, train_freq=1, gradient_steps=1, buffer_size=400_000,
        policy_kwargs={"net_arch": [128, 128]},
    )  # fmt: skip
    curve: list[float] = []
    best: dict[str, Any] = {}
    for _ in range(chunks):
        model.learn(total_steps // chunks, reset_num_timesteps=False)
        curve.append(float(np.mean(list(oracle_returns(model, VALIDATION_SEED, 4).values()))))
        if curve[-1] == max(curve):
            best = {k: v.clone() for k, v in model.policy.state_dict().items()}
        sys.stderr.write(f"{model.num_timesteps} steps, validation return {curve[-1]:.1f}\n")
        sys.stderr.flush()
    model.policy.load_state_dict(best)
    return model, curve


def figure(returns: dict[str, list[float]]) -> Figure:
    """Mean over all episodes, interval by bootstrap over robots."""
    means = np.array([np.mean(v) for v in returns.values()])
    boot = np.random.default_rng(0).choice(means, (2000, len(means))).mean(axis=1)
    low, high = (round(float(q), 3) for q in np.quantile(boot, [0.025, 0.975]))
    interval = (low, high) if len(means) > 1 else None
    return Figure(round(float(means.mean()), 3), "1", sum(map(len, returns.values())), interval)


def main() -> None:
    words = parser(__doc__ or "")
    words.add_argument("--steps", type=int, default=270_000)
    arguments = words.parse_args()
    model, curve = train(6_000 if arguments.quick else arguments.steps, 2 if arguments.quick else 18)
    seed, n = FLEET.evaluation_seed, FLEET.evaluation_episodes
    oracle, random = oracle_returns(model, seed, n), random_returns(seed, n)
    figures = {"oracle_return": figure(oracle), "random_return": figure(random)}
    figures |= {f"oracle_return.{s}": figure({s: oracle[s]}) for s in SERIALS}
    figures |= {f"random_return.{s}": figure({s: random[s]}) for s in SERIALS}
    if not arguments.quick:
        write_oracle(figures, curve, arguments.steps)
    publish(envelope("oracle_cartpole", figures, {}, [SEED]), arguments)


def write_oracle(figures: dict[str, Figure], curve: list[float], steps: int) -> None:
    """The file that `StandIn.oracle_return` reads."""
    result = {
        "robot": FLEET.name,
        "task": FLEET.task.name,
        "task_digest": FLEET.task.digest,
        "serials": SERIALS,
        "evaluation_seed": FLEET.evaluation_seed,
        "evaluation_episodes": FLEET.evaluation_episodes,
        "return": "undiscounted sum of rewards",
        "oracle_return": figures["oracle_return"].value,
        "random_return": figures["random_return"].value,
        "oracle_per_robot": {s: figures[f"oracle_return.{s}"].value for s in SERIALS},
        "random_per_robot": {s: figures[f"random_return.{s}"].value for s in SERIALS},
        "algorithm": f"SAC, history {HISTORY}, {steps} steps on the stand-ins",
        "validation_curve": curve,
        "command": "python -m tests.benchmarks.oracle_cartpole --json",
    }
    Path(str(FLEET.oracle_file)).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
