"""Fills the README's results and draws its figure from the committed result files; `--check` fails when they are not
current.

    python -m tests.benchmarks.readme          writes README.md and docs/campaign.svg
    python -m tests.benchmarks.readme --check  exits 1 if that would change README.md

Text between `<!-- NAME:begin -->` and `<!-- NAME:end -->` is generated; nothing else is touched. Of the simulator's
and the ingest's benchmarks only figures with a target are shown, and a few named here; a benchmark without a committed
result is left out.
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


_HEAD = ["figure", "value [95 %]", "n", "target", ""]
_HORIZON = re.compile(r" at ([0-9.]+) s\b")
_BY_FORMAT = re.compile(r"[^:]+: ((truncations|bit flips) .*)")

SIMULATOR: dict[str, tuple[str, tuple[str, ...]]] = {
    "sim_accuracy_real": (
        "Real robots, open loop, from the same 0.2 s of history. Ratios are geometric means over runs of the ratio of "
        "median errors; the white boxes are the builders' own model of the double pendulum and one identified anew, "
        "whichever is better; *pretrained* ones had seen stand-ins before.",
        (r"pretrained: error over the best white box at [0-9.]+ s", r".*error over hold-last at .*"),
    ),
    "sim_grounding": (
        "What a prompt is worth on stand-ins never seen: two seconds of log beside the specification.",
        (r"prompted over hold-last at .*",),
    ),
    "sim_calibration": (
        "Whether the sampled futures are as spread as the truth is; off by and worst are percentage points.",
        (),
    ),
    "sim_what_if": (
        "What-if answers against twins that were really changed.",
        ("correlation of effects", "width of the intervals over the true effects"),
    ),
    "sim_interventions": ("Commands that no controller chose, against those that were logged.", ()),
    "sim_policy_ranking": (
        "Sixteen policies by their simulated and their real return.",
        (r".*, the robot against itself",),
    ),
    "sim_long_horizon": ("A thousand worlds, ten thousand steps.", ()),
    "sim_speed": (
        "Robot-seconds per second beside other simulators, in turns on the same cores.",
        (r"simulator, \d+ worlds",),
    ),
}
"""Result -> what it measures, and patterns of the figures without a target that are shown too."""


def simulator_tables() -> str:
    parts = [
        f"{words} (`python -m tests.benchmarks.{name} --json --save`)\n\n{compact_table(load(name), also)}"
        for name, (words, also) in SIMULATOR.items()
        if (RESULTS / f"{name}.json").is_file()
    ]
    return "\n\n".join(part.rstrip() for part in parts)


def compact_table(result: dict[str, Any], also: tuple[str, ...] = ()) -> str:
    """The figures of a result that have a target or match `also`, one row for all horizons. A target whose figure was
    not measured is missed, and says so."""
    keys = [*result["targets"], *(k for k in result["figures"] if any(re.fullmatch(p, k) for p in also))]
    groups: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        groups.setdefault(_HORIZON.sub("", key, count=1), []).append(key)
    rows = [_group(result, title, sorted(found, key=_horizon)) for title, found in sorted(groups.items())]
    return markdown(_HEAD, rows) + f"\n{result['machine']}, commit {result['commit']}."


def _horizon(key: str) -> float:
    found = _HORIZON.search(key)
    return float(found[1]) if found else 0.0


def _group(result: dict[str, Any], title: str, keys: list[str]) -> list[str]:
    if len(keys) == 1:
        title = keys[0]
    figures, targets = result["figures"], result["targets"]
    counts = sorted({figures[k]["n"] for k in keys if k in figures})
    asked = [k for k in keys if k in targets]
    limits = list(dict.fromkeys(_limit(targets[k]) for k in asked))
    if len(limits) > 1:
        limits = [f"{_horizon(k):g} s: {_limit(targets[k])}" for k in asked]
    missed = [k for k in asked if k in result["missed"]]
    verdict = "" if not asked else "met" if not missed else "**missed**"
    if missed and len(missed) < len(asked):
        verdict += f" at {', '.join(f'{_horizon(k):g}' for k in missed)} s"
    values = [
        (f"{_horizon(k):g} s: " if len(keys) > 1 else "") + _value(figures.get(k), interval=len(keys) <= 3)
        for k in keys
    ]
    n = "" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return [title, "<br>".join(values), n, "<br>".join(limits), verdict]


def _value(figure: dict[str, Any] | None, *, interval: bool) -> str:
    if figure is None:
        return "not measured"
    text = _number(figure["value"])
    if interval and figure["ci95"] is not None:
        text += " [" + ", ".join(_number(limit) for limit in figure["ci95"]) + "]"
    return text if figure["unit"] == "1" else f"{text} {figure['unit']}"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _limit(target: dict[str, Any]) -> str:
    return f"{'at most' if target['better'] == 'lower' else 'at least'} {target['limit']:g}"


def formats_table() -> str:
    """By format: speed, and what became of damaged files."""
    figures = load("ingest_formats")["figures"]
    names = [key.removesuffix(": bit flips flagged") for key in figures if key.endswith(": bit flips flagged")]

    def cell(key: str, text: Callable[[float], str]) -> str:
        return text(figures[key]["value"]) if key in figures else ""

    rows = [
        [
            name,
            cell(f"{name}: reading into series", lambda v: f"{v:,.0f}"),
            cell(f"{name}: over the library's own", lambda v: f"{v:.2g}"),
            cell(f"{name}: truncations flagged", lambda v: f"{v:.0%}"),
            *(cell(f"{name}: bit flips {what}", lambda v: f"{v:.0%}") for what in ("flagged", "without any effect")),
            cell(f"{name}: bit flips unnoticed", lambda v: f"{v:.0f}"),
            cell(f"{name}: bit flips salvaged with other values than the file had", lambda v: f"{v:.0f}"),
        ]
        for name in names
    ]
    n = {what: figures[f"{names[0]}: {what} flagged"]["n"] for what in ("truncations", "bit flips")}
    head = ["format", "messages or rows/s", "over the library's own", f"noticed of {n['truncations']} cuts"]
    head += [f"noticed of {n['bit flips']} flipped bits", "without effect", "unnoticed", "salvaged, yet other values"]
    return markdown(head, rows)


def ingest_tables() -> str:
    parts = [formats_table()]
    for path in sorted(RESULTS.glob("ingest_*.json")):
        table = compact_table(_worst_formats(load(path.stem)))
        parts.append(f"`python -m tests.benchmarks.{path.stem} --json --save`\n\n{table}")
    return "\n\n".join(part.rstrip() for part in parts)


def _worst_formats(result: dict[str, Any]) -> dict[str, Any]:
    """The result with one figure for what was measured format by format: the smallest share, of all files."""
    figures: dict[str, Any] = {}
    targets: dict[str, Any] = {}
    missed: set[str] = set()
    for key, target in result["targets"].items():
        found = _BY_FORMAT.match(key)
        name = f"{found[1]}, worst format" if found else key
        targets[name] = target
        if key in result["missed"]:
            missed.add(name)
        if key in result["figures"]:
            figure, other = result["figures"][key], figures.get(name)
            worst = figure["value"] if other is None else min(figure["value"], other["value"])
            figures[name] = figure | {"value": worst, "n": figure["n"] + (other["n"] if other else 0)}
    return result | {"figures": figures, "targets": targets, "missed": sorted(missed)}


def learning_tables() -> str:
    """Steps of the real robot until a policy is good, one row per task; then what is compared with the full loop."""
    rows = []
    for path in sorted(RESULTS.glob("sample_efficiency_*.json")):
        result = load(path.stem)
        steps = [result["figures"][f"steps to the threshold, {word}"]["value"] for word in ("median", "fewest", "most")]
        solved, limit = result["figures"]["seeds solved"], result["targets"]["steps to the threshold, median"]["limit"]
        rows.append(
            [
                result["task"],
                f"{result['threshold']:g}",
                f"{steps[0]:,.0f} [{steps[1]:,.0f}, {steps[2]:,.0f}]",
                f"{solved['value']:.0f} of {solved['n']}",
                f"{result['figures']['best mean return, median over seeds']['value']:.0f}",
                f"{limit:,.0f}",
                "**missed**" if result["missed"] else "met",
                f"{result['figures']['wall time per iteration']['value']:.0f}",
                result["commit"],
            ]
        )
    head = ["task", "return to reach", "steps: median [range]", "seeds solved", "best mean return", "at most", "",
            "s per iteration", "commit"]  # fmt: skip
    parts = [markdown(head, rows)] if rows else []
    for name in ("compounding", "worker_kill"):
        if (RESULTS / f"{name}.json").is_file():
            every = tuple(re.escape(key) for key in load(name)["figures"])
            parts.append(f"`python -m tests.benchmarks.{name} --json --save`\n\n{compact_table(load(name), every)}")
    if (RESULTS / "kth_robot.json").is_file():
        parts.append(kth_robot_table(load("kth_robot")))
    return "\n\n".join(part.rstrip() for part in parts)


def kth_robot_table(result: dict[str, Any]) -> str:
    """What a new robot costs, one row per position in the fleet; then the factors."""
    figures, rows = result["figures"], []
    for position in result["timed"]:
        row = [str(position)]
        for arm in ("fleet", "from scratch"):
            found = {w: figures[f"robot {position}, {arm}: {w}"] for w in ("median", "fewest", "most", "cut off")}
            n, cut_off = found["median"]["n"], found["cut off"]["value"]
            # Where half of the draws were cut off, or more, the median is a bound.
            bound = "at least " if 2 * cut_off >= n else ""
            median, fewest, most = (f"{found[w]['value']:.0f}" for w in ("median", "fewest", "most"))
            row += [f"{bound}{median} [{fewest}, {most}]", f"{n - cut_off:.0f} of {n}"]
        ratio = figures.get(f"robot {position}, fleet over from scratch")
        share = figures.get(f"robot {position}, share of the oracle before training: median")
        row += [_value(ratio, interval=True) if ratio else "", f"{share['value']:.2f}" if share else ""]
        rows.append(row)
    head = ["new robot", "in the fleet, robot s: median [range]", "reached", "from scratch, robot s: median [range]",
            "reached", "fleet over from scratch [95 %]", "share of the oracle before training"]  # fmt: skip
    words = (
        f"Robot-seconds until a policy earns 90 % of the oracle's return on the k-th robot of a fleet; reached: within "
        f"{result['limit_s']:g} s (`python -m tests.benchmarks.kth_robot --json --save`)"
    )
    return f"{words}\n\n{markdown(head, rows)}\n{compact_table(result, ('wall time per draw',))}"


def benchmark_table(name: str) -> Callable[[], str]:
    def table() -> str:
        result = load(name)
        rows = []
        for key, figure in result["figures"].items():
            target = result["targets"].get(key)
            limit = "" if target is None else _limit(target)
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
    "simulator": simulator_tables,
    "ingest": ingest_tables,
    "learning": learning_tables,
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
