"""Every source file keeps the house style, and the learned simulator knows no particular robot."""

import statistics
from pathlib import Path

import pytest
from source_rules import forbidden_statements, has_docstring, long_parts, mentions, python_files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("storage", "simulator", "policy", "fleet_ingest", "flows")
# Robots, their parts and the tasks on them. A rope, a lamp and an appliance live in tests, not here.
ROBOT_WORDS = frozenset(
    {"cart", "pole", "cartpole", "pendulum", "doublependulum", "swingup", "acrobot", "qube", "quanser", "unitree"}
    | {"humanoid", "cheetah", "halfcheetah", "hopper", "reacher", "walker", "panda", "franka", "bottle"}
)
MIGRATIONS = "storage/catalog/migrations/versions"  # records of what the tables were, one statement after another


def complaints(rule: object, *folders: str) -> list[str]:
    files = python_files(ROOT, *folders)
    assert files
    return [f"{path.relative_to(ROOT)}: {said}" for path in files for said in rule(path.read_text())]  # type: ignore[operator]


def test_files_and_functions_are_short() -> None:
    assert not [said for said in complaints(long_parts, *PACKAGES) if not said.startswith(MIGRATIONS)]
    lengths = [path.read_text().count("\n") for path in python_files(ROOT, *PACKAGES) if path.name != "__init__.py"]
    assert statistics.median(lengths) <= 150


def test_libraries_hold_no_forbidden_statement() -> None:
    assert not complaints(forbidden_statements, *PACKAGES)


def test_modules_say_what_they_do() -> None:
    silent = [p for p in python_files(ROOT, *PACKAGES) if p.name != "__init__.py" and not has_docstring(p.read_text())]
    assert not silent


def test_init_files_do_no_work_and_tests_have_none() -> None:
    assert not [p for p in python_files(ROOT, *PACKAGES) if p.name == "__init__.py" and p.read_text().strip()]
    assert not [p for p in python_files(ROOT, "tests") if p.name == "__init__.py"]


def test_the_simulator_names_no_robot() -> None:
    assert not complaints(lambda source: mentions(source, ROBOT_WORDS), "simulator", "policy", "storage")


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (long_parts, "x = 1\n" * 401),
        (long_parts, "def f():\n" + "    x = 1\n" * 60),
        (forbidden_statements, "assert x"),
        (forbidden_statements, "try:\n    x\nexcept:\n    pass"),
        (forbidden_statements, "print(1)"),
        (forbidden_statements, "from pickle import loads"),
        (forbidden_statements, "import joblib.x"),
        (lambda source: mentions(source, ROBOT_WORDS), "if spec.name == 'CartPole-v1': pass"),
        (lambda source: mentions(source, ROBOT_WORDS), "class DoublePendulum: pass"),
        (lambda source: mentions(source, ROBOT_WORDS), "scale = {'pole.angle': 1}"),
    ],
)
def test_the_rules_find_what_they_forbid(rule: object, source: str) -> None:
    assert list(rule(source))  # type: ignore[operator]


def test_the_rules_leave_good_code_alone() -> None:
    good = '"""Cart-pole in prose is fine."""\ndef f(x: int) -> int:\n    """On a cartpole."""\n    return x\n'
    assert has_docstring(good)
    assert not [*long_parts(good), *forbidden_statements(good), *mentions(good, ROBOT_WORDS)]
