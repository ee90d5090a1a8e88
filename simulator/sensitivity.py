"""Which command moves the outcome, when, and how surely: gradients through the simulator's own steps.

Open loop only: a policy would answer to the change. Commands beyond their limits are clamped and have no effect.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from simulator.answer import LEVEL
from simulator.outcome import Measure, Outcome
from simulator.scene import Scene
from simulator.situation import Situation, run
from simulator.what_if import reference_of
from storage.contracts.errors import InputError


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """d outcome / d command, float64 [T, C]: `mean` over worlds, `low` to `high` holds 90 % of them. `value` is the
    mean outcome, `columns` the commands, `unit` the outcome's unit."""

    outcome: str
    title: str
    unit: str
    columns: tuple[str, ...]
    command_units: tuple[str, ...]
    period_s: float
    worlds: int
    value: float
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def to_json(self) -> dict[str, object]:
        rows = {name: getattr(self, name).tolist() for name in ("mean", "low", "high")}
        keep = ("outcome", "title", "unit", "columns", "command_units", "period_s", "worlds", "value")
        return {name: getattr(self, name) for name in keep} | rows

    def sentences(self) -> list[str]:
        """One line per command: when it matters most."""
        lines = []
        for c, column in enumerate(self.columns):
            t = int(np.abs(self.mean[:, c]).argmax())
            per = f"{self.unit or '1'} per {self.command_units[c]}"
            lines.append(
                f"{column}: {self.title} answers most to the command at {t * self.period_s:.2f} s, "
                f"{self.mean[t, c]:+.3g} {per} [{self.low[t, c]:.3g}, {self.high[t, c]:.3g}] (90 %), "
                f"{self.worlds} worlds"
            )
        return lines


def sensitivity(
    scene: Scene, outcome: str | Measure, situation: Situation, *, worlds: int = 64, seed: int = 0
) -> Sensitivity:
    """Of `outcome` to every command of the situation, by gradient. Raises InputError for a policy or an outcome that
    counts time, which has no gradient."""
    measure = Outcome(outcome) if isinstance(outcome, str) else outcome
    measure.check(scene.spec)
    if situation.policy is not None:
        raise InputError("sensitivity is to commands; a policy would answer to their change", remedy="Give commands.")
    if not measure.smooth:
        raise InputError(f"'{measure.text}' counts periods and has no gradient", remedy="Ask for a max, mean or final.")
    spec, sampled = scene.spec, scene.sample(worlds, seed)
    leaf = _commands(situation, scene).expand(worlds, -1, -1).clone().requires_grad_()
    values = measure(run(sampled, replace(situation, commands=leaf), seed), reference_of(situation, spec))
    gradient = np.zeros(tuple(leaf.shape))
    if values.requires_grad:
        (found,) = torch.autograd.grad(values.sum(), leaf)
        gradient = found.double().numpy()
    low, high = np.quantile(gradient, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    layout = spec.command_layout
    return Sensitivity(
        outcome=measure.text,
        title=measure.title,
        unit=measure.unit(spec),
        columns=layout.columns,
        command_units=tuple(c.unit for c in layout.channels for _ in range(c.width)),
        period_s=spec.period_s,
        worlds=worlds,
        value=float(values.detach().double().mean()),
        mean=gradient.mean(0),
        low=low,
        high=high,
    )


def _commands(situation: Situation, scene: Scene) -> torch.Tensor:
    """[T, C] for the whole horizon, the safe command where there are none."""
    steps = situation.steps(scene.spec)
    rows = torch.from_numpy(scene.spec.safe).float().repeat(steps, 1)
    if situation.commands is not None:
        given = situation.commands if situation.commands.dim() == 2 else situation.commands.mean(0)
        rows[: len(given)] = given[:steps]
    return rows
