import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import quantities
from simulator.quantities import KINDS, opinions


def said(notes: str) -> list[tuple[str, dict[str, float]]]:
    """Words and, by kind, the value in SI, worked back from its compressed form."""
    found = []
    for opinion in opinions(notes):
        rows = dict(zip(KINDS, opinion.numbers.reshape(len(KINDS), -1), strict=True))
        value = {
            kind: np.expm1(3 * abs(row[1])) * KINDS[kind][1] * np.sign(row[1]) for kind, row in rows.items() if row[0]
        }
        found.append((opinion.words, value))
    return found


@pytest.mark.parametrize(
    ("note", "words", "kind", "value"),
    [
        ("payload 0.7 kg", "payload kilograms", "mass", 0.7),
        ("payload 700 g", "payload kilograms", "mass", 0.7),
        ("payload 0,7kg.", "payload kilograms", "mass", 0.7),
        ("1,200 g tool", "kilograms tool", "mass", 1.2),
        ("half a kilo at the tip", "kilograms at the tip", "mass", 0.5),
        ("about 25 cm long", "about metres long", "length", 0.25),
        ("delay of 30 ms", "delay of seconds", "time", 0.03),
        ("0.5 Nm at most", "newton metres at most", "torque", 0.5),
        ("pulls with 3 N", "pulls with newtons", "force", 3.0),
        ("tilted by -90 deg", "tilted by degrees", "angle", -np.pi / 2),
        ("friction x2", "friction times", "factor", 2.0),
        ("2x the friction", "times the friction", "factor", 2.0),
        ("10 % heavier", "percent heavier", "share", 0.1),
        ("between 0.6 and 0.8 kg", "kilograms", "mass", 0.7),
        ("weighs 600-800 g", "weighs kilograms", "mass", 0.7),
        ("0.7 ± 0.1 kg", "kilograms", "mass", 0.7),
        ("gain of 3", "gain of number", "other", 3.0),
    ],
)
def test_quantities_are_read_in_si_units(note: str, words: str, kind: str, value: float) -> None:
    ((found, values),) = said(note)
    assert found == words
    assert list(values) == [kind]
    assert values[kind] == pytest.approx(value, rel=1e-4)


def test_units_do_not_matter_to_the_bit() -> None:
    for grams in (1, 70, 700, 1234):
        by_gram, by_kilogram = opinions(f"payload {grams} g"), opinions(f"payload {grams / 1000} kg")
        assert by_gram[0].words == by_kilogram[0].words
        assert by_gram[0].numbers.tobytes() == by_kilogram[0].numbers.tobytes()


def test_a_range_is_told_from_a_value() -> None:
    wide, narrow, exact = (opinions(n)[0].numbers.reshape(-1, 4)[0, 3] for n in ("0.2-1.2 kg", "0.6-0.8 kg", "0.7 kg"))
    assert wide > narrow > exact == 0


def test_a_sentence_is_an_opinion_and_one_of_several_quantities_is_cut() -> None:
    assert [w for w, _ in said("Opaque bottle, contents unknown. Worn belt; rain\nworn belt")] == [
        "Opaque bottle, contents unknown", "Worn belt", "rain",
    ]  # fmt: skip
    found = said("delay of 30 ms, base 1.2 kg and tip 0.3 kg, says Ana")
    assert [(w, *v) for w, v in found] == [
        ("delay of seconds", "time"), ("base kilograms", "mass"), ("tip kilograms, says Ana", "mass"),
    ]  # fmt: skip
    assert len(opinions("worn belt. payload 0.7 kg. worn belt. payload 700 g")) == 2


def test_numbers_that_are_part_of_a_name_are_left_alone() -> None:
    assert said("link2 of robot-3 at 14:30, v1.2.3") == [("link2 of robot-3 at 14:30, v1.2.3", {})]


@given(st.text(alphabet=st.sampled_from("0123456789.,-+±eE xkgms/NV%° and to between factor half a\n;"), max_size=80))
def test_whatever_is_written_is_read(notes: str) -> None:
    for opinion in opinions(notes):
        assert opinion.words
        assert opinion.numbers.shape == (quantities.WIDTH,)
        assert np.isfinite(opinion.numbers).all()
