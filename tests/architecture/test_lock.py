"""The lock files pin and hash every package that pyproject.toml asks for, and name no place to fetch it from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "infra" / "lock"
GROUPS = {"engine": ("engine", "standins"), "dev": ("environments", "dev"), "bench": ("bench",)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(group: str) -> list[str]:
    text = re.sub(r"^#.*\n", "", (LOCK / f"{group}.txt").read_text(), flags=re.M)
    return [block for block in re.split(r"\n(?=\S)", text.strip()) if block]


def pins(*groups: str) -> dict[str, Requirement]:
    """Returns the locked requirement of each name."""
    found = [Requirement(block.split("\\")[0].strip()) for group in groups for block in blocks(group)]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.mark.parametrize("group", GROUPS)
def test_every_entry_is_pinned_and_hashed(group: str) -> None:
    for block in blocks(group):
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s;]+( ; [^\\]+)? \\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+", block), (
            block
        )


def test_no_place_and_no_cuda_package() -> None:
    text = "".join((LOCK / f"{name}.txt").read_text() for name in (*GROUPS, "torch"))
    assert not re.search(r"://|index-url|find-links|file:|^-|@", text, flags=re.M)
    assert not re.search(r"^(nvidia|cuda|triton)", text, flags=re.M)
    assert "torch==" not in (LOCK / "engine.txt").read_text()


@pytest.mark.parametrize("group", GROUPS)
def test_what_the_project_asks_for_is_locked_in_its_group(group: str) -> None:
    wanted = [line for extra in GROUPS[group] for line in PROJECT["optional-dependencies"][extra]]
    wanted += PROJECT["dependencies"] if group == "engine" else []
    order = list(GROUPS)
    locked = pins(*order[: order.index(group) + 1], "torch")
    for line in wanted:
        requirement = Requirement(line)
        pin = locked[canonicalize_name(requirement.name)]
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{line} is locked as {version}: run `make lock`"


def test_no_package_stands_in_two_groups() -> None:
    names = [name for group in GROUPS for name in pins(group)]
    assert len(names) == len(set(names))
