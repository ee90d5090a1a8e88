import re

import pytest

from fleet_ingest.standins.families import population
from fleet_ingest.standins.notes import (
    BESIDE,
    EXACT,
    SPLITS,
    UNKNOWN,
    VAGUE,
    exact_note,
    notes_of,
    usual_friction,
    with_notes,
)
from fleet_ingest.standins.recorder import record
from storage.contracts.errors import UnknownName

BODIES = population(12, seed=0)


def test_notes_are_a_function_of_robot_seed_episode_and_split() -> None:
    body = BODIES[0]
    assert notes_of(body, 0, 3) == notes_of(body, 0, 3)
    assert len({notes_of(body, 0, episode) for episode in range(20)}) > 10
    assert all(1 <= len(notes_of(b, 0, e)) <= 4 for b in BODIES for e in range(5))
    with pytest.raises(UnknownName, match="split of phrasings"):
        notes_of(body, 0, 0, "validation")


@pytest.mark.parametrize(
    ("quantity", "phrase", "size"),
    [
        ("payload.mass", "payload {kg} kg", 1.0), ("payload.mass", "payload {g} g", 1e-3),
        ("link1.length", "{name} is {cm} cm", 1e-2), ("link1.length", "{name} is {mm} mm", 1e-3),
        ("command.delay", "{ms} ms late", 1e-3), ("command.delay", "{s} s late", 1.0),
        ("link1.friction", "{n} {unit}", 1.0),
    ],
)  # fmt: skip
def test_exact_notes_say_the_true_value_to_two_digits(quantity: str, phrase: str, size: float) -> None:
    for body in (b for b in BODIES if any(joint.name == "link1" for joint in b.joints)):
        said = exact_note(body, quantity, phrase)
        number = re.search(r"(?<!\w)\d[\d.e+-]*", said)
        assert number is not None, said
        assert float(number[0]) * size == pytest.approx(body.quantity(quantity), rel=0.051)


def test_vague_notes_are_said_where_they_are_true() -> None:
    heavy = set(VAGUE["payload.mass", "high"]["train"])
    light = set(VAGUE["payload.mass", "low"]["train"])
    said = {body.serial: {n for e in range(60) for n in notes_of(body, 0, e)} for body in BODIES}
    for body in BODIES:
        share = body.payload_kg / body.joints[-1].mass_kg
        assert bool(said[body.serial] & heavy) == (share > 0.6)
        assert bool(said[body.serial] & light) == (share < 0.2)


def test_usual_friction_is_what_the_families_draw_about() -> None:
    """Drawn between a quarter and four times of it, evenly in the logarithm."""
    ratios = [j.friction / usual_friction(b, j) for b in population(60, seed=1) for j in b.joints]
    assert 0.25 < min(ratios) < 0.35
    assert 3.0 < max(ratios) < 4.0


def test_held_out_phrasings_never_occur_in_training() -> None:
    tables = [*EXACT.values(), *VAGUE.values(), UNKNOWN, BESIDE]
    for table in tables:
        assert set(table) == set(SPLITS)
    train, test = ({phrase for table in tables for phrase in table[split]} for split in SPLITS)
    assert not train & test


def test_recorded_episodes_carry_notes() -> None:
    body = BODIES[1]
    episodes = record(body, 2, 0.5, seed=0)
    noted = with_notes(body, episodes, seed=0)
    assert [e.notes for e in noted] == [notes_of(body, 0, 0), notes_of(body, 0, 1)]
    assert noted[0].provenance == episodes[0].provenance
