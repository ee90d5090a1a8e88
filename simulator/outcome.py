"""An outcome: one number per world from its trajectory. `final(pole.angle)`, `max(abs(cart.position))`,
`mean(...)`, `min(...)`, `time_above(abs(pole.angle), 0.2)`, or the return of a task.

Inside, any expression over channels, where angles are continuous in time (`wrap(...)` brings them back within a turn).
"""

import ast
from collections.abc import Callable

import torch
from torch import Tensor

from simulator.situation import Trajectory
from storage.contracts.channel import Role
from storage.contracts.errors import ContractError, UnknownName
from storage.contracts.expression import Expression
from storage.contracts.robot import RobotSpec
from storage.contracts.task import Task, columns

_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "final": lambda v: v[:, -1],
    "max": lambda v: v.amax(1),
    "min": lambda v: v.amin(1),
    "mean": lambda v: v.mean(1),
}
_ABOVE = "time_above"
_WORDS = {"final": "final", "max": "largest", "min": "smallest", "mean": "mean", _ABOVE: "time above"}


class Outcome:
    """A reduction over time of an expression. An expression alone means its final value. Raises ContractError."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.reduction, inner, self.threshold = _split(self.text)
        self.expression = Expression(inner)

    @property
    def title(self) -> str:
        """In words: `final pole.angle`."""
        if self.threshold is not None:
            return f"time that {self.expression.text} is above {self.threshold:g}"
        return f"{_WORDS[self.reduction]} {self.expression.text}"

    @property
    def smooth(self) -> bool:
        return self.reduction != _ABOVE

    def check(self, spec: RobotSpec) -> None:
        """Raises UnknownName for a channel that the robot does not have."""
        usable = [c.name for c in (*spec.by_role(Role.STATE), *spec.by_role(Role.COMMAND))]
        for name in sorted(self.expression.names - set(usable)):
            raise UnknownName(f"channel in the outcome '{self.text}'", name, usable)

    def unit(self, spec: RobotSpec) -> str:
        """That of the channel where the expression is one, or its size; else empty."""
        if self.reduction == _ABOVE:
            return "s"
        text = self.expression.text.strip()
        bare = text.removeprefix("abs(").removesuffix(")") if text.startswith("abs(") else text
        found = next((c.unit for c in spec.channels if c.name == bare), "")
        return "" if found == "1" else found

    def __call__(self, trajectory: Trajectory, reference: Tensor) -> Tensor:
        """[N], over the ends of all control periods; differentiable unless it counts time. `reference` [S] names the
        turn that angles begin on."""
        state = trajectory.turning(reference)[:, 1:]
        values = self.expression(columns(trajectory.spec, state, trajectory.command), torch)
        values = torch.as_tensor(values, dtype=state.dtype, device=state.device) + 0.0 * state[..., 0]
        if self.threshold is not None:
            return (values > self.threshold).to(state.dtype).sum(1) * trajectory.spec.period_s
        return _REDUCTIONS[self.reduction](values)


class TaskReturn:
    """The undiscounted return of a task, until it terminates."""

    smooth = True

    def __init__(self, task: Task) -> None:
        self.task = task
        self.text = self.title = f"return of {task.name}"

    def check(self, spec: RobotSpec) -> None:
        self.task.check(spec)

    def unit(self, spec: RobotSpec) -> str:
        del spec
        return ""

    def __call__(self, trajectory: Trajectory, reference: Tensor) -> Tensor:
        del reference
        state = trajectory.state[:, 1:]
        if self.task.reward is None:
            if trajectory.reward is None:
                raise ContractError(f"task '{self.task.name}' has a logged reward; this simulator learned none")
            reward = trajectory.reward
        else:
            reward = self.task.reward_of(trajectory.spec, state, trajectory.command, torch)
        ended = self.task.terminated_of(trajectory.spec, state, trajectory.command, torch)
        before = torch.cumsum(ended.to(state.dtype), dim=1) - ended.to(state.dtype)
        total: Tensor = (reward * (before == 0)).sum(1)
        return total


Measure = Outcome | TaskReturn


def _split(text: str) -> tuple[str, str, float | None]:
    """Reduction, expression and threshold of the text."""
    try:
        root = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ContractError(f"not an outcome: {text!r} ({error})") from error
    if not (isinstance(root, ast.Call) and isinstance(root.func, ast.Name) and root.func.id in _WORDS):
        return "final", text, None
    name, wanted = root.func.id, 2 if root.func.id == _ABOVE else 1
    if len(root.args) != wanted or root.keywords:
        example = "time_above(abs(x), 0.2)" if name == _ABOVE else f"{name}(x)"
        raise ContractError(f"{name}() takes {wanted} arguments, given {len(root.args)} in '{text}'; e.g. {example}")
    inner = ast.get_source_segment(text, root.args[0]) or ast.unparse(root.args[0])
    if name != _ABOVE:
        return name, inner, None
    try:
        return name, inner, float(ast.literal_eval(root.args[1]))
    except (ValueError, TypeError) as error:
        raise ContractError(f"the threshold in '{text}' must be a number") from error
