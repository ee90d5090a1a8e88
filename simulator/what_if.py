"""What if the payload were heavier, the belt looser, the delay longer? Sweeps of promptable quantities.

Every value is asked in the same worlds (hypothesis i, noise i), so that differences are due to the edit alone. An edit
says what the specification says; what a prompt taught about everything else stays. Nothing is fitted here.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from simulator.answer import Answer, Case, distribution, effect
from simulator.editing import value_of
from simulator.outcome import Measure, Outcome
from simulator.scene import Scene
from simulator.situation import Situation, run
from storage.contracts.errors import DataError, InputError
from storage.contracts.robot import RobotSpec

Sweep = Mapping[str, Sequence[float | str]]


def ask(
    scene: Scene,
    sweep: Sweep,
    outcome: str | Measure,
    situation: Situation,
    *,
    worlds: int = 256,
    seed: int = 0,
    replicates: int = 2,
) -> Answer:
    """How `outcome` changes when each quantity of `sweep` alone takes each of its values: numbers, or changes as
    `Scene.edit` writes them. Effects are against the scene as it is; for a quantity whose value nobody said, against
    the first value of its sweep. `replicates` draws of noise for each of `worlds` hypotheses.

    Raises UnknownName for a quantity or channel that the robot does not have, InputError for a bad value.
    """
    measure = Outcome(outcome) if isinstance(outcome, str) else outcome
    measure.check(scene.spec)
    if replicates < 2:
        raise InputError(f"replicates={replicates}: noise is told from hypotheses by at least 2 draws of each")
    changes = [(name, _change(name, value)) for name, values in sweep.items() for value in values]
    edited = [scene.edit({name: change}) for name, change in changes]
    members = np.arange(worlds) % scene.model.members

    def sampled(of: Scene) -> np.ndarray:
        return _sampled(of, measure, situation, worlds, seed, replicates)

    base = sampled(scene)
    first: dict[str, tuple[str, np.ndarray]] = {}
    cases = []
    for (name, change), variant in zip(changes, edited, strict=True):
        values = sampled(variant)
        if value_of(scene.spec, name) is None:
            first.setdefault(name, (change, values))
        against, compared = first.get(name, ("", base))
        cases.append(
            Case(
                quantity=name,
                change=change,
                value=value_of(variant.spec, name),
                against=against,
                outcome=distribution(values, members),
                effect=effect(values, compared),
            )
        )
    return Answer(
        outcome=measure.text,
        title=measure.title,
        unit=measure.unit(scene.spec),
        horizon_s=situation.horizon_s,
        worlds=worlds,
        replicates=replicates,
        seed=seed,
        base=distribution(base, members),
        base_values={name: value_of(scene.spec, name) for name in sweep},
        cases=tuple(cases),
    )


def reference_of(situation: Situation, spec: RobotSpec) -> Tensor:
    """[S], where the situation begins: it names the turn on which angles start."""
    if situation.history is not None:
        return situation.history.state[0, -1]
    reference = torch.zeros(spec.state_layout.width)
    for name, value in situation.start.items():
        reference[spec.state_layout[name]] = value
    return reference


def _sampled(
    scene: Scene, measure: Measure, situation: Situation, worlds: int, seed: int, replicates: int
) -> np.ndarray:
    """float64 [R, N]."""
    reference = reference_of(situation, scene.spec)
    sampled = scene.sample(worlds, seed)
    with torch.no_grad():
        rows = [measure(run(sampled, situation, seed + r), reference) for r in range(replicates)]
    values = torch.stack(rows).double().cpu().numpy()
    if not np.isfinite(values).all():
        raise DataError(
            f"'{measure.text}' is not finite in {int((~np.isfinite(values)).any(0).sum())} of {worlds} worlds",
            code="not_finite",
            remedy="Ask for a shorter horizon, or for an outcome that is defined everywhere.",
        )
    return values


def _change(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value.strip()
    if value < 0:
        raise InputError(f"'{name}' cannot be set to {value}; to lower it, write the change as text: '{value}'")
    return f"{float(value):g}" if float(f"{float(value):g}") == value else repr(float(value))
