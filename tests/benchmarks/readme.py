"""Fills the README's results and draws its figure from the committed result files; `--check` fails when they are not
current.

    python -m tests.benchmarks.readme          writes README.md and docs/campaign.svg
    python -m tests.benchmarks.readme --check  exits 1 if that would change README.md

Text between `<!-- NAME:begin -->` and `<!-- NAME:end -->` is generated; nothing else is touched.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.report import charts
from tests.benchmarks.envelope import RESULTS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "campaign.svg"


def load(name: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def campaign_table() -> str:
    result = load("campaign")
    horizons = list(result["iterations"][0]["sim_error"])
    head = [
        "iteration",
        "real return [95 %]",
        "simulated",
        *(f"error {h} s" for h in horizons),
        *(f"new logs {h} s" for h in horizons),
        "robot s",
        "wall s",
    ]
    rows = [["random", f"{result['random_return']:.1f}", *[""] * (len(head) - 2)]]
    for r in result["iterations"]:
        low, high = r["real_return"]["ci95"]
        rows.append(
            [
                str(r["iteration"]),
                f"{r['real_return']['mean']:.1f} [{low:.1f}, {high:.1f}]",
                f"{r['sim_return']['mean']:.1f}",
                *(f"{r['sim_error'][h]:.3f}" for h in horizons),
                *(f"{r['new_log_error'][h]:.3f}" for h in horizons),
                f"{r['real_seconds']:.0f}",
                f"{r['wall_seconds']:.0f}",
            ]
        )
    rows.append(["oracle", f"{result['oracle_return']:.1f}", *[""] * (len(head) - 2)])
    return markdown(head, rows)


def benchmark_table(name: str) -> Callable[[], str]:
    def table() -> str:
        result = load(name)
        rows = []
        for key, figure in result["figures"].items():
            target = result["targets"].get(key)
            limit = (
                ""
                if target is None
                else f"{'at most' if target['better'] == 'lower' else 'at least'} {target['limit']:g}"
            )
            verdict = "" if target is None else ("**missed**" if key in result["missed"] else "met")
            rows.append([key, f"{figure['value']:.3g} {figure['unit']}", str(figure["n"]), limit, verdict])
        return (
            markdown(["figure", "value", "n", "target", ""], rows)
            + f"\n{result['machine']}, commit {result['commit']}."
        )

    return table


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def transcript(name: str) -> Callable[[], str]:
    """What a command printed, kept as it was in results/NAME.txt."""
    return lambda: "```\n" + (RESULTS / f"{name}.txt").read_text().rstrip() + "\n```"


SECTIONS: dict[str, Callable[[], str]] = {
    "demo": transcript("demo"),
    "resume": transcript("resume"),
    "campaign": campaign_table,
    "loop": benchmark_table("loop"),
    "double_pendulum": benchmark_table("double_pendulum"),
}


def filled(text: str) -> str:
    """The README's text with every generated section current."""
    for name, make in SECTIONS.items():
        pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        if pattern.search(text):
            text = replaced(pattern, make(), text)
    return text


def replaced(section: re.Pattern[str], body: str, text: str) -> str:
    return section.sub(lambda match: f"{match[1]}{body}\n{match[2]}", text)


def main() -> None:
    text = README.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if filled(text) == text else "README.md is not current: run python -m tests.benchmarks.readme")
    README.write_text(filled(text))
    PICTURE.parent.mkdir(exist_ok=True)
    result = load("campaign")
    PICTURE.write_text(charts.campaign(result["iterations"], result["random_return"], result["oracle_return"]))


if __name__ == "__main__":
    main()
