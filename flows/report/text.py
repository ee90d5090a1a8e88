"""Reports in words: the compounding table for terminals, one markdown report per iteration for Prefect."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

Record = Mapping[str, Any]

REALITY = {
    "standin": "The robots are stand-ins: simulated themselves, they stand for reality.",
    "environment": "The robots are environments: simulated themselves, they stand for reality.",
}
"""What is said of robots of a kind (`Fleet.kind`), so that nobody takes them for more than they are."""


def compounding_table(result: Record) -> Table:
    """One row per iteration: returns with intervals, simulator error on the fixed held-out set and on new logs before
    training.
    """
    horizons = list(result["iterations"][0]["sim_error"]) if result["iterations"] else []
    table = Table(
        title=f"campaign {result['campaign']}", title_justify="left", header_style="bold", caption=_caption(result)
    )
    table.add_column("iteration")
    for column in (
        "real return [95 %]",
        "simulated",
        "gap",
        *(f"error {h} s" for h in horizons),
        "new logs*",
        "real s",
        "wall s",
    ):
        table.add_column(column, justify="right")
    table.add_row("random", f"{result['random_return']:.1f}")
    for record in result["iterations"]:
        real, sim = record["real_return"], record["sim_return"]
        errors = [number(record["sim_error"][h]) for h in horizons]
        table.add_row(
            str(record["iteration"]),
            interval(real),
            f"{sim['mean']:.1f}",
            f"{sim['mean'] - real['mean']:+.1f}",
            *errors,
            number(record["new_log_error"][horizons[-1]]),
            f"{record['real_seconds']:.0f}",
            f"{record['wall_seconds']:.0f}",
        )
    if result.get("oracle_return") is not None:
        table.add_row("oracle", f"{result['oracle_return']:.1f}")
    return table


def _caption(result: Record) -> str:
    if not result["iterations"]:
        return ""
    first = result["iterations"][0]
    last = list(first["sim_error"])[-1]
    windows = ", ".join(f"{n} at {h} s" for h, n in first["sim_error_windows"].items())
    return (
        f"returns over {first['real_return']['n']} episodes of {first['real_return']['robots']} robots, "
        "interval by bootstrap over robots; "
        f"errors are RMSE in standard deviations on a fixed held-out set ({windows} windows); "
        f"* error at {last} s on the iteration's own logs, before training on them"
    )


def iteration_markdown(record: Record, robot: str) -> str:
    """The report of one iteration, as a markdown artifact."""
    rows = [
        f"| {h} s "
        f"| {number(error)} | {number(record['hold_last_error'][h])} | {record['sim_error_windows'][h]} "
        f"| {number(record['new_log_error'][h])} | {number(record['new_log_hold_last_error'][h])} "
        f"| {record['new_log_windows'][h]} |"
        for h, error in record["sim_error"].items()
    ]
    per_robot = "".join(f"| {name} | {mean:.1f} |\n" for name, mean in record["real_return"]["per_robot"].items())
    time = "".join(f"| {name} | {seconds:.1f} |\n" for name, seconds in record["wall_seconds_by_step"].items())
    return (
        f"# {robot}, iteration {record['iteration']}\n\n"
        f"Real return **{interval(record['real_return'])}** over {record['real_return']['n']} episodes, "
        f"simulated return {interval(record['sim_return'])}; "
        f"{record['real_seconds']:.0f} s of robot time so far.\n\n"
        "## Simulator error\nRMSE in standard deviations of each channel, angles wrapped. "
        "New logs are scored before training on them.\n\n"
        "| horizon | held out | hold-last | windows | new logs | hold-last | windows |\n|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n## Returns by robot\n| robot | mean return |\n|---|---|\n{per_robot}"
        + f"\n## Where the time went\n| step | seconds |\n|---|---|\n{time}"
        + f"\n## Artefacts\n- simulator `{record['simulator']}`\n- policy `{record['policy']}`\n"
        + f"- dataset `{record['dataset']}`\n"
    )


def interval(statistics: Record) -> str:
    """Mean and its 95 % interval."""
    low, high = statistics["ci95"]
    return f"{statistics['mean']:.1f} [{low:.1f}, {high:.1f}]"


def number(value: float | None) -> str:
    """Three decimals, or a dash where there is no figure."""
    return "-" if value is None else f"{value:.3f}"
