"""Training a policy inside sampled worlds of one or several robots.

Training goes in draws: fresh hypotheses of every scene, fresh starts, then `config.windows` updates. Between draws
nothing
of the worlds survives but the pool of visited states, so a checkpoint is small and resuming is exact to the bit.
The policy that comes out is the one of highest pessimistic value on withheld hypotheses, not the last one.
This module starts no processes and writes nothing but its checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from policy import checkpoint as checkpoints
from policy import ppo, shac
from policy.config import PolicyConfig
from policy.evaluate import AUDIT, Value, evaluate, statistics, value_from
from policy.learner import make_learner
from policy.network import PolicyNetwork
from policy.ports import History, ScenePort
from policy.rollout import Run, begin
from policy.windows import StartPool, join, pick, rewarding, task_windows, wide_windows
from storage.contracts.canonical import digest_of
from storage.contracts.errors import InputError
from storage.contracts.figures import ReturnStatistics
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

Progress = Callable[[float, str], None]
UPDATES = {"shac": shac.update, "ppo": ppo.update}
CANDIDATES = 8
"""States drawn for each one that is kept for its reward."""


@dataclass(frozen=True)
class TrainedPolicy:
    """The chosen policy. `curve` has one row per evaluation; `simulated` is its return on hypotheses used for
    nothing else."""

    network: PolicyNetwork
    spec: RobotSpec
    task: Task
    config: PolicyConfig
    value: Value
    simulated: ReturnStatistics
    curve: tuple[dict[str, float], ...]


def train_policy(
    scenes: Sequence[ScenePort],
    task: Task,
    config: PolicyConfig,
    *,
    starts: History | None = None,
    checkpoint: Path | None = None,
    warm_start: PolicyNetwork | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> TrainedPolicy:
    """Trains on `scenes` (one per robot) within `config.updates` updates.

    Args:
        starts: logged windows [M, K, ...] to begin some runs in (see `policy.windows.logged_windows`).
        checkpoint: file that is replaced after every draw; when it exists, training goes on from it, exactly.
        warm_start: an earlier policy of the same shape to begin from.

    Raises InputError if there is no scene, scenes are of different robots, or the checkpoint is of other settings.
    """
    training = _Training(scenes, task, config, starts, warm_start, torch.device(device))
    if checkpoint is not None and checkpoint.exists():
        training.restore(checkpoint)
    training.judge_warm_start()
    while not training.finished:
        training.draw()
        if checkpoint is not None:
            training.save(checkpoint)
        if progress is not None:
            progress(training.updates / config.updates, training.text)
    return training.result()


class _Training:
    """One training run between its draws."""

    def __init__(
        self,
        scenes: Sequence[ScenePort],
        task: Task,
        config: PolicyConfig,
        starts: History | None,
        warm_start: PolicyNetwork | None,
        device: torch.device,
    ) -> None:
        if not scenes:
            raise InputError("a policy needs at least one scene to train in, given none")
        self.scenes, self.task, self.config, self.device = list(scenes), task, config, device
        self.generator = torch.Generator().manual_seed(config.seed)
        self.spec, self.learner = make_learner(self.scenes, task, config, starts, warm_start, device)
        self.key = digest_of([config, task, self.spec, len(scenes)])
        self.pools = [StartPool(starts) for _ in self.scenes]
        horizon = task.horizon_steps(self.spec)
        self.steps = min(config.horizon_steps, horizon)
        self.windows = max(1, min(config.windows, horizon // self.steps))
        self.updates = self.draws = self.stale = 0
        self.curve: list[dict[str, float]] = []
        self.best: Value | None = None
        self.best_weights: dict[str, torch.Tensor] = {}
        self.warm = warm_start is not None
        self.last: dict[str, float] = {}

    def judge_warm_start(self) -> None:
        """The policy that training goes on from is the first candidate: what comes out is not worse in this
        simulator."""
        if self.warm and self.updates == 0 and not self.curve:
            self._evaluate()

    @property
    def finished(self) -> bool:
        tired = self.config.patience is not None and self.stale >= self.config.patience
        return self.updates >= self.config.updates or tired

    @property
    def text(self) -> str:
        shown = f"value {self.best.pessimistic:.1f}" if self.best is not None else "not evaluated yet"
        return f"update {self.updates} of {self.config.updates}, best pessimistic {shown}"

    def draw(self) -> None:
        """Fresh hypotheses and starts, then updates on them; an evaluation where one is due."""
        runs = [self._begin(index) for index in range(len(self.scenes))]
        for _ in range(min(self.windows, self.config.updates - self.updates)):
            if sum(int(run.alive.sum()) for run in runs) * 2 < sum(run.worlds.n for run in runs):
                break  # most runs have ended: what is left teaches too little
            self.learner.set_rates(self.config, self.updates / self.config.updates, warm=self.warm)
            self.last = UPDATES[self.config.algorithm](
                self.learner, runs, self.task, self.config, self.steps, self.generator
            )
            self.updates += 1
            for run, pool in zip(runs, self.pools, strict=True):
                pool.add(History(run.window.state[run.alive], run.window.command[run.alive]), self.generator)
        self.draws += 1
        if self.draws % self.config.evaluate_every == 0 or self.updates >= self.config.updates:
            self._evaluate()

    def _begin(self, index: int) -> Run:
        """Worlds of scene `index` for this draw: some at the task's start, the others in logged or visited states."""
        config = self.config
        n = max(1, config.worlds // len(self.scenes))
        seed = (config.seed * 100_003 + self.draws) * 64 + index
        worlds = self.scenes[index].sample(n, seed=seed % (1 << 29), device=self.device)
        window = self._starts(index, worlds.n)
        return begin(worlds, History(window.state.to(self.device), window.command.to(self.device)), seed)

    def _starts(self, index: int, n: int) -> History:
        """`n` windows: the task's start, states all over the place, and logged or visited ones, in the shares
        configured."""
        config, features, draw = self.config, self.learner.policy.features, self.generator
        wide, good = min(n - 1, round(config.wide_share * n)), min(n - 1, round(config.good_share * n))
        held = self.pools[index].draw(n - wide - good - max(1, round(config.start_share * n)), draw)
        known = 0 if held is None else held.state.shape[0]
        centre, scale = features.state_centre.cpu(), features.state_scale.cpu()
        spread = wide_windows(self.spec, centre, scale, wide + CANDIDATES * good, config.history_steps, draw)
        parts = [
            task_windows(self.spec, self.task, n - wide - good - known, config.history_steps, draw),
            pick(spread, torch.arange(wide)),
            rewarding(self.spec, self.task, pick(spread, torch.arange(wide, spread.state.shape[0])), good),
        ]
        return join(parts if held is None else [*parts, History(held.state.cpu(), held.command.cpu())])

    def _evaluate(self) -> Value:
        """Values the policy as it is, keeps it if it is the best so far, and returns the best value."""
        config, policy = self.config, self.learner.policy
        value = evaluate(
            policy,
            self.scenes,
            self.task,
            worlds=config.evaluation_worlds,
            pessimism=config.pessimism,
            device=self.device,
        )
        self.curve.append(
            {
                "updates": self.updates,
                "mean": value.mean,
                "spread": value.spread,
                "pessimistic": value.pessimistic,
                **self.last,
            }
        )
        self.stale += 1
        if self.best is None or value.pessimistic > self.best.pessimistic:
            self.best, self.stale = value, 0
            self.best_weights = {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
        return self.best

    def result(self) -> TrainedPolicy:
        best = self.best if self.best is not None else self._evaluate()
        policy, config = self.learner.policy, self.config
        policy.load_state_dict(self.best_weights)
        audit = evaluate(
            policy,
            self.scenes,
            self.task,
            worlds=2 * config.evaluation_worlds,
            pessimism=config.pessimism,
            seed=AUDIT,
            device=self.device,
        )
        return TrainedPolicy(policy, self.spec, self.task, config, best, statistics(audit), tuple(self.curve))

    def save(self, path: Path) -> None:
        tensors = {"generator": self.generator.get_state()}
        for name, network in self._networks():
            tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        tensors |= {f"best.{key}": value for key, value in self.best_weights.items()}
        for name, optimiser in (("actor", self.learner.actor), ("critic", self.learner.critic)):
            tensors |= optimiser.tensors(name)
        for index, pool in enumerate(self.pools):
            if pool.visited is not None:
                tensors |= {f"pool.{index}.state": pool.visited.state, f"pool.{index}.command": pool.visited.command}
        values = {
            "key": self.key,
            "updates": self.updates,
            "draws": self.draws,
            "stale": self.stale,
            "curve": self.curve,
            "best": None if self.best is None else asdict(self.best),
            "reward_scale": self.learner.reward_scale,
        }
        checkpoints.save(path, tensors, values)

    def restore(self, path: Path) -> None:
        tensors, values = checkpoints.load(path)
        if values["key"] != self.key:
            raise InputError(
                f"the checkpoint {path} is of other settings, task or robot ({values['key'][:8]}, {self.key[:8]})",
                remedy="delete it to begin again, or give another path",
            )
        self.generator.set_state(tensors["generator"])
        for name, network in self._networks():
            network.load_state_dict(_under(name, tensors))
        self.best_weights = _under("best", tensors)
        for name, optimiser in (("actor", self.learner.actor), ("critic", self.learner.critic)):
            optimiser.restore(name, tensors)
        for index, pool in enumerate(self.pools):
            held = _under(f"pool.{index}", tensors)
            pool.visited = History(held["state"].to(self.device), held["command"].to(self.device)) if held else None
        self.updates, self.draws, self.stale = values["updates"], values["draws"], values["stale"]
        self.curve, self.learner.reward_scale = values["curve"], values["reward_scale"]
        self.best = None if values["best"] is None else value_from(values["best"])

    def _networks(self) -> tuple[tuple[str, torch.nn.Module], ...]:
        return ("policy", self.learner.policy), ("value", self.learner.value), ("target", self.learner.target)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The entries below `prefix.`, without it."""
    return {key[len(prefix) + 1 :]: value for key, value in tensors.items() if key.startswith(prefix + ".")}
