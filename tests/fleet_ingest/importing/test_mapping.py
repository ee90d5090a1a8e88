"""Mappings: they read back what they wrote, their schema is current, and wrong ones say what would be right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fleet_ingest.mapping import ChannelMap, Mapping
from fleet_ingest.mapping_schema import PATH, schema_text
from fleet_ingest.mapping_yaml import dump_mapping, load_mapping, parse_mapping
from fleet_ingest.path_pattern import PathPattern
from storage.contracts.errors import ContractError, InputError

SLIDER = """
name: slider
files: "**/*.csv"
path: "{unit}/{run}.csv"
robot: "slider-{unit}"
tags: {run: "{run}"}
time: {column: t, unit: ms}
rate_hz: 100
channels:
  - {column: x_mm, name: cart.position, kind: linear, unit: mm, entity: cart}
  - {column: v_mm_s, name: cart.velocity, kind: linear, unit: mm/s, entity: cart, derivative_of: cart.position}
  - {column: F, name: cart.force, kind: effort, role: command, unit: kN, entity: cart, limits: [-0.01, 0.01]}
rules:
  - {files: "**/2022*", tags: {command: measured}, note: "measured force", without: [cart.force]}
"""


def test_schema_file_is_current() -> None:
    assert PATH.read_text(encoding="utf-8") == schema_text(), "run: python -m fleet_ingest.mapping_schema"
    assert set(json.loads(schema_text())["properties"]) == set(Mapping.model_fields)


@pytest.mark.parametrize("path", sorted(PATH.parent.glob("mappings/*.yaml")), ids=lambda p: p.stem)
def test_shipped_mappings_load_and_read_back(path: Path) -> None:
    mapping = load_mapping(path)
    assert load_mapping(path.stem) == mapping
    again = parse_mapping(dump_mapping(mapping))
    assert again == mapping
    assert again.digest == mapping.digest


def test_the_example_in_the_docstring_works() -> None:
    import fleet_ingest.mapping as module

    text = "\n".join(line for line in str(module.__doc__).splitlines() if line.startswith("    "))
    assert parse_mapping(text).spec_at(100.0).command_layout.columns == ("cart.force",)


def test_robot_tags_notes_and_rules_follow_from_the_path() -> None:
    mapping = parse_mapping(SLIDER)
    assert mapping.facts_of("/data/any/u7/2023_a.csv") == ("slider-u7", {"run": "2023_a"}, (), frozenset())
    serial, tags, notes, without = mapping.facts_of("u7/2022_b.csv")
    assert (serial, tags["command"], notes, without) == ("slider-u7", "measured", ("measured force",), {"cart.force"})
    with pytest.raises(ContractError, match=r"does not fit the mapping's pattern '\{unit\}/\{run\}.csv'"):
        mapping.facts_of("lonely.txt")
    assert mapping.facts_of("lonely.txt", robot="s-1")[0] == "s-1"


def test_limits_and_values_become_si() -> None:
    mapping = parse_mapping(SLIDER)
    assert mapping.channels[2].channel.limits == (-10.0, 10.0)
    celsius = ChannelMap.model_validate(
        {"column": "T", "name": "t", "kind": "scalar", "unit": "degC", "sign": -1, "scale": 2.0, "offset": 5.0}
    )
    scale, offset = celsius.to_si
    assert scale * 10.0 + offset == pytest.approx(-2 * 10 + 5 + 273.15)


def test_changed_copies_have_their_own_digests() -> None:
    mapping = parse_mapping(SLIDER)
    first = mapping.digest
    assert mapping.at_rate(50.0).digest != first
    assert mapping.with_notes("worn belt").digest != first
    assert mapping.with_notes(" ").digest == first


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("unit: mm,", "unit: mn,", ["channels[0].unit (cart.position)", "unknown unit 'mn'", "Did you mean"]),
        ("unit: kN,", "unit: Newton-metre,", ["unknown unit 'Newton-metre'"]),
        ("kind: effort", "kind: efort", ["unknown channel kind 'efort'", "Did you mean 'effort'"]),
        ("role: command", "role: comand", ["unknown channel role", "Did you mean 'command'"]),
        ("column: t,", "colum: t,", ["time.colum", "did you mean 'column'"]),
        ("rate_hz: 100", "rate_hz: fast", ["rate_hz", "'fast'"]),
        ("rate_hz: 100", "rate_hz: -5", ["rate_hz", "greater than 0"]),
        ("unit: mm/s", "unit: rad/s", ["cannot be the derivative of", "m/s, cm/s, mm/s"]),
        ("unit: mm,", "unit: mm, kind: angle,", ["key 'kind' is given twice"]),
        ("derivative_of: cart.position", "derivative_of: cart.pos", ["Did you mean 'cart.position'"]),
        ("slider-{unit}", "slider-{unitt}", ["unknown part of the path 'unitt'", "Did you mean 'unit'"]),
        ("name: slider", "name: My Slider", ["name", "pattern"]),
        ("name: cart.velocity", "name: cart.force", ["occur twice", "cart.force"]),
        ("without: [cart.force]", "without: [cart.torque]", ["cart.torque", "Did you mean 'cart.force'"]),
        ("limits: [-0.01, 0.01]", "limits: [0.01, -0.01]", ["low < high"]),
        ("channels:", "chanels:", ["chanels", "channels: this field is needed"]),
    ],
)
def test_wrong_mappings_say_what_would_be_right(old: str, new: str, words: list[str]) -> None:
    assert old in SLIDER
    with pytest.raises(InputError) as caught:
        parse_mapping(SLIDER.replace(old, new))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "line 1"),
        ("\tname: x", "line 1"), ("", "empty"), ("- 1\n- 2\n", "list"), ("name: x\nname: y\n", "twice"),
        ("a: &x [1]\nb: *x\n", "aliases"), ("!!python/object/apply:os.system ['true']", "not readable YAML"),
    ],
)  # fmt: skip
def test_unreadable_yaml(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_mapping(text)


def test_angle_in_metres_is_refused() -> None:
    with pytest.raises(ValueError, match="kind angle cannot be in 'm'"):
        ChannelMap.model_validate({"column": "q", "name": "q", "kind": "angle", "unit": "m"})


def test_unknown_mapping_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="double_pendulum, g1_arms, quanser_cartpole, qube"):
        load_mapping(tmp_path / "absent.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="cannot read"):
        load_mapping(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("pattern", "path", "parts"),
    [
        ("{a}/{b}.csv", "x/y/z.csv", {"a": "y", "b": "z"}),
        ("{a}/**/{b}.csv", "r/y/q/z.csv", {"a": "q", "b": "z"}),
        ("logs/{a}/**/{b}.csv", "t/logs/y/q/z.csv", {"a": "y", "b": "z"}),
        ("**/*.csv", "z.csv", {}),
        ("*.csv", "a/z.parquet", None),
        ("{a}.{b}", "C.1.parquet", {"a": "C", "b": "1.parquet"}),
    ],
)
def test_path_patterns(pattern: str, path: str, parts: dict[str, str] | None) -> None:
    assert PathPattern(pattern).match(path) == parts


def test_yaml_of_any_mapping_reads_back() -> None:
    data: dict[str, Any] = yaml.safe_load(SLIDER)
    data["csv"] = {"separator": ";", "decimal": ",", "names": ["on", "1", "a b"]}
    data["entities"] = [{"name": "cart", "mass_kg": 0.25, "axis": [1, 0, 0]}]
    mapping = Mapping.model_validate(data)
    assert parse_mapping(dump_mapping(mapping)) == mapping
    assert np.isfinite(mapping.spec_at(100).period_s)
