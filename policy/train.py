"""Training a policy inside sampled worlds of one or several robots.

Training goes in draws: fresh hypotheses of every scene, fresh starts, then `config.windows` updates. Between draws
nothing
of the worlds survives but the pool of visited states, so a checkpoint is small and resuming is exact to the bit.
The policy that comes out is the one of highest pessimistic value on withheld hypotheses, not the last one.
This module starts no processes and writes nothing but its checkpoint.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from policy import checkpoint as checkpoints
from policy import ppo, shac
from policy.config import PolicyConfig
from policy.evaluate import AUDIT, Value, evaluate, statistics, value_from
from policy.learner import make_learner
from policy.network import PolicyNetwork
from policy.ports import History, ScenePort, WorldsPort
from policy.rollout import Run, begin
from policy.tree import detach, select
from policy.windows import (
    LoggedStarts,
    StartPool,
    first_windows,
    free,
    join,
    pick,
    rewarding,
    rewards_of,
    wide_windows,
)
from storage.contracts.canonical import digest_of
from storage.contracts.errors import InputError
from storage.contracts.figures import ReturnStatistics
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task

Progress = Callable[[float, str], None]
UPDATES = {"shac": shac.update, "ppo": ppo.update}
_DISAGREE, _NEUTRAL, _AGREE, _FOLLOW = 0.15, 0.4, 0.7, 0.3
"""Agreement below and above which the horizon changes, where it begins, and the share by which it follows."""
NOTICEABLE = 0.01
"""A value has risen when it did by this share of its spread over hypotheses."""
CANDIDATES = 8
"""States drawn for each one that is kept for its reward."""


@dataclass(frozen=True)
class TrainedPolicy:
    """The chosen policy. `curve` has one row per evaluation; `simulated` is its return on hypotheses used for
    nothing else."""

    network: PolicyNetwork
    last: PolicyNetwork
    """The policy as training left it: not worth more than `network`, and other than it, which makes it teach more about
    where the simulator is wrong."""
    spec: RobotSpec
    task: Task
    config: PolicyConfig
    value: Value
    simulated: ReturnStatistics
    curve: tuple[dict[str, float], ...]
    spread: float
    """Deviation of the returns behind `simulated`."""
    curious: bool = False
    """Whether it was paid for what is new instead of for the task, of which nothing is known; `network` is `last`
    then."""


def train_policy(
    scenes: Sequence[ScenePort],
    task: Task,
    config: PolicyConfig,
    *,
    judges: Sequence[ScenePort] | None = None,
    starts: LoggedStarts | None = None,
    checkpoint: Path | None = None,
    warm_start: PolicyNetwork | None = None,
    incumbent: PolicyNetwork | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> TrainedPolicy:
    """Trains on `scenes` (one per robot) within `config.updates` updates.

    Args:
        judges: scenes of the same robots that policies are chosen and reported by, for instance of members of the
            ensemble that nothing is trained on; default: `scenes`.
        starts: logged windows to begin some runs in (see `policy.windows.logged_windows`).
        checkpoint: file that is replaced after every draw; when it exists, training goes on from it, exactly.
        warm_start: an earlier policy of the same shape to begin from.
        incumbent: an earlier policy of the same shape that is the first candidate; `warm_start` is one, too. What comes
            out is not worse than it in this simulator, and is it when nothing was found to be better.

    Raises InputError if there is no scene, scenes are of different robots, or the checkpoint is of other settings.
    """
    training = _Training(scenes, judges or scenes, task, config, starts, warm_start, torch.device(device))
    if checkpoint is not None and checkpoint.exists():
        training.restore(checkpoint)
    training.judge_incumbent(incumbent or warm_start)
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
        judges: Sequence[ScenePort],
        task: Task,
        config: PolicyConfig,
        starts: LoggedStarts | None,
        warm_start: PolicyNetwork | None,
        device: torch.device,
    ) -> None:
        if not scenes:
            raise InputError("a policy needs at least one scene to train in, given none")
        self.scenes, self.task, self.config, self.device = list(scenes), task, config, device
        self.judges = list(judges)
        self.generator = torch.Generator().manual_seed(config.seed)
        surveyed, self.learner = make_learner(self.scenes, task, config, starts, warm_start, device)
        self.spec = surveyed.spec
        self.reached = _all_of(surveyed.reached, starts) if free(self.spec) else surveyed.reached
        # The beginnings of a task without start ranges are those of the few episodes there are: too few to judge by.
        # Where states that cover all are known, they tell policies apart that do equally well where robots have been.
        self.others = None if task.start else (starts if free(self.spec) else self.reached)
        self.key = digest_of([config, task, self.spec, len(scenes)])
        self.pools = [StartPool(None if starts is None else starts.windows) for _ in self.scenes]
        self.steps, self.agreement = min(config.horizon_steps, task.horizon_steps(self.spec)), _NEUTRAL
        self.updates = self.draws = self.stale = 0
        self.curve: list[dict[str, float]] = []
        self.best: Value | None = None
        self.best_weights: dict[str, torch.Tensor] = {}
        self.warm = warm_start is not None
        self.last: dict[str, float] = {}

    def judge_incumbent(self, policy: PolicyNetwork | None) -> None:
        """Makes an earlier policy the first candidate."""
        if policy is not None and self.updates == 0 and not self.curve:
            self._evaluate(policy.to(self.device))

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
        windows = self._windows()
        for window in range(min(windows, self.config.updates - self.updates)):
            self.learner.set_rates(self.config, self.updates / self.config.updates, warm=self.warm)
            self.last |= UPDATES[self.config.algorithm](
                self.learner, runs, self.task, self.config, self.steps, self.generator,
                compare=self.config.adaptive and window == windows - 1,
            )  # fmt: skip
            self.updates += 1
            for index, (run, pool) in enumerate(zip(runs, self.pools, strict=True)):
                pool.add(History(run.window.state[run.alive], run.window.command[run.alive]), self.generator)
                if not run.alive.all():
                    self._begin_again(index, run)
        self.draws += 1
        self._adapt()
        evaluated = int(self.curve[-1]["updates"]) if self.curve else 0
        if self.updates - evaluated >= self.config.evaluate_every or self.updates >= self.config.updates:
            self._evaluate()

    def _windows(self) -> int:
        """Updates on one draw: about as many control periods at every horizon, and no more than the task has."""
        most = max(1, self.task.horizon_steps(self.spec) // self.steps)
        return max(1, min(round(self.config.windows * self.config.horizon_steps / self.steps), most))

    def _adapt(self) -> None:
        """A longer horizon as long as gradients agree, a shorter one where they do not (compare AHAC, Georgiev et al.
        2024, arXiv:2405.17784, which watches the stiffness of contacts)."""
        if "agreement" not in self.last:
            return
        self.agreement += _FOLLOW * (self.last["agreement"] - self.agreement)
        fewest, most = max(1, self.config.horizon_steps // 4), 2 * self.config.horizon_steps
        longest = min(most, self.task.horizon_steps(self.spec))
        if self.agreement < _DISAGREE and self.steps > fewest:
            self.steps, self.agreement = max(fewest, self.steps // 2), _NEUTRAL
        elif self.agreement > _AGREE and self.steps < longest:
            self.steps, self.agreement = min(longest, 2 * self.steps), _NEUTRAL
        self.last["horizon"] = float(self.steps)

    def _begin(self, index: int) -> Run:
        """Worlds of scene `index` for this draw: some at the task's start, the others in logged or visited states."""
        config = self.config
        n = max(1, config.worlds // len(self.scenes))
        seed = (config.seed * 100_003 + self.draws) * 64 + index
        worlds = self.scenes[index].sample(n, seed=seed % (1 << 29), device=self.device)
        window = self._starts(index, worlds, seed)
        return begin(worlds, History(window.state.to(self.device), window.command.to(self.device)), seed)

    def _begin_again(self, index: int, run: Run) -> None:
        """Runs that have ended begin anew, in the same hypotheses."""
        seed = (self.config.seed * 100_003 + self.draws) * 64 + index + (self.updates << 32)
        window = self._starts(index, run.worlds, seed)
        fresh = begin(run.worlds, History(window.state.to(self.device), window.command.to(self.device)), seed)
        run.state = select(run.alive, detach(run.state), fresh.state)
        run.window = select(run.alive, detach(run.window), fresh.window)
        run.alive = fresh.alive

    def _starts(self, index: int, worlds: WorldsPort, seed: int) -> History:
        """One window per world: as the task begins, states all over the place, and logged or visited ones, in the
        shares configured."""
        config, draw, n = self.config, self.generator, worlds.n
        good = self._good(min(n - 1, round(config.good_share * n)))
        wide = self._wide(min(n - 1, round(config.wide_share * n)))
        parts = [part for part in (good, wide) if part is not None]
        taken = sum(part.state.shape[0] for part in parts)
        held = self.pools[index].draw(n - taken - max(1, round(config.start_share * n)), draw)
        if held is not None:
            parts.append(History(held.state.cpu(), held.command.cpu()))
            taken += held.state.shape[0]
        first = first_windows(worlds, self.task, config.history_steps, seed, draw)
        return join([pick(first, torch.arange(n - taken)), *parts])

    def _wide(self, n: int) -> History | None:
        """`n` states from all over the place: any at all where the values of a state are free of each other, else such
        as random commands reached or logs hold."""
        if n == 0:
            return None
        if free(self.spec):
            features = self.learner.policy.features
            centre, scale = features.state_centre.cpu(), features.state_scale.cpu()
            return wide_windows(self.spec, centre, scale, n, self.config.history_steps, self.generator)
        if not len(self.reached):
            return None
        return pick(self.reached.windows, torch.randint(len(self.reached), (n,), generator=self.generator))

    def _good(self, n: int) -> History | None:
        """The `n` most rewarding of many such states."""
        wide = self._wide(CANDIDATES * n) if free(self.spec) and self.task.reward is not None else None
        if wide is not None:
            reward = self.task.reward_of(self.spec, wide.state[:, -1], wide.command[:, -1], torch)
            return rewarding(wide, reward, n)
        if n == 0 or not len(self.reached):
            return None
        index = torch.randint(len(self.reached), (CANDIDATES * n,), generator=self.generator)
        reward = rewards_of(self.spec, self.task, self.reached)[index]
        return rewarding(pick(self.reached.windows, index), reward, n)

    def _evaluate(self, policy: PolicyNetwork | None = None) -> Value:
        """Values the policy as it is (or another), keeps it if it is the best so far, and returns the best value."""
        config, policy = self.config, policy or self.learner.policy
        value = evaluate(
            policy,
            self.judges,
            self.task,
            worlds=config.evaluation_worlds,
            pessimism=config.pessimism,
            steps=config.evaluation_steps,
            others=self.others,
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
            if self.best is None or value.pessimistic > self.best.pessimistic + NOTICEABLE * value.spread:
                self.stale = 0
            self.best = value
            self.best_weights = {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}
        return self.best

    def result(self) -> TrainedPolicy:
        best = self.best if self.best is not None else self._evaluate()
        policy, config = self.learner.policy, self.config
        last = deepcopy(policy)
        policy.load_state_dict(self.best_weights)
        audit = evaluate(
            policy,
            self.judges,
            self.task,
            worlds=2 * config.evaluation_worlds,
            pessimism=config.pessimism,
            seed=AUDIT,
            device=self.device,
        )
        return TrainedPolicy(
            policy, last, self.spec, self.task, config, best, statistics(audit), tuple(self.curve), audit.spread
        )

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
            "steps": self.steps,
            "agreement": self.agreement,
            "last": self.last,
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
        self.steps, self.agreement, self.last = values["steps"], values["agreement"], values["last"]
        self.best = None if values["best"] is None else value_from(values["best"])

    def _networks(self) -> tuple[tuple[str, torch.nn.Module], ...]:
        return ("policy", self.learner.policy), ("value", self.learner.value), ("target", self.learner.target)


def _all_of(reached: LoggedStarts, logged: LoggedStarts | None) -> LoggedStarts:
    if logged is None or not len(logged):
        return reached
    return LoggedStarts(join([reached.windows, logged.windows]), torch.cat([reached.reward, logged.reward]))


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The entries below `prefix.`, without it."""
    return {key[len(prefix) + 1 :]: value for key, value in tensors.items() if key.startswith(prefix + ".")}
