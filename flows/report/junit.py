"""Results of scenarios as JUnit XML, which continuous integration shows: a suite per scenario, a case per check."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from storage.contracts.errors import UnavailableError
from storage.contracts.scenario import CheckResult, ScenarioResult


def write_junit(results: Sequence[ScenarioResult], path: Path) -> None:
    """Raises UnavailableError when the place cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(junit(results))
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error.strerror}") from error


def junit(results: Sequence[ScenarioResult]) -> bytes:
    """Deterministic: no times, no host."""
    cases = [check for result in results for check in result.checks]
    root = ElementTree.Element("testsuites", tests=str(len(cases)), failures=str(_failed(cases)))
    for result in results:
        suite = ElementTree.SubElement(
            root, "testsuite", name=result.name, tests=str(len(result.checks)), failures=str(_failed(result.checks))
        )
        for check in result.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=result.name, name=check.title)
            if not check.passed:
                ElementTree.SubElement(case, "failure", message=words(check)).text = (
                    f"expression: {check.expression}\nscenario: {result.scenario}\nsimulator: {result.simulator}\n"
                    f"policy: {result.policy or 'none, the commands of the scenario'}\nseed: {result.seed}\n"
                )
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def words(check: CheckResult) -> str:
    """One check in a line."""
    low, high = check.ci95
    first = f", first broken at {check.first_failure_s:.2f} s" if check.first_failure_s is not None else ""
    return (
        f"held in {check.held} of {check.n} worlds ({check.share:.0%} [{low:.0%}, {high:.0%}]), wanted "
        f"{check.wanted:.0%}{first}"
    )


def _failed(checks: Sequence[CheckResult]) -> int:
    return sum(not check.passed for check in checks)
