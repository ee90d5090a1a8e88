"""What a terminal shows: progress with ETA, tables, errors. Results for machines go to standard output, all else to
standard error.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from storage.contracts.errors import Sim2RealError

_WIDTH = 132
"""Of tables where nobody says how wide the terminal is."""
console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
_QUIET_EVERY_S = 15.0
PARENT = "Simulator to begin with: 'pretrained' (by drawn stand-ins), a folder, name@version or a digest; else chance."


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write(json.dumps(value, default=str) + "\n")
    sys.stdout.flush()


def print_error(error: Sim2RealError) -> None:
    """What was wrong, and what would be right."""
    console.print(f"[bold red]error:[/] {_escape(str(error))}")
    if error.remedy:
        console.print(f"[bold]what to do:[/] {_escape(error.remedy)}")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> Table:
    """A table; the columns in `right` are numbers."""
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i in right else "left")
    for row in rows:
        made.add_row(*(_escape(str(cell)) for cell in row))
    return made


class TerminalProgress:
    """Bars with ETA on a terminal; elsewhere a line when something begins, moves on, or ends."""

    def __init__(self) -> None:
        self._live = console.is_terminal
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[detail]}"), console=console,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def begin(self, title: str) -> None:
        self._began[title] = self._said[title] = time.monotonic()
        if self._live:
            self._tasks[title] = self._bars.add_task(title, total=1.0, detail="")
        else:
            console.print(f"{title} ...")

    def update(self, title: str, share: float, text: str) -> None:
        if self._live:
            self._bars.update(self._tasks[title], completed=share, detail=_escape(text))
        elif time.monotonic() - self._said[title] > _QUIET_EVERY_S:
            self._said[title] = time.monotonic()
            elapsed = time.monotonic() - self._began[title]
            eta = f", ETA {elapsed * (1 - share) / share:.0f} s" if share > 0.02 else ""
            console.print(f"  {title}: {share:.0%}{eta} {_escape(text)}")

    def end(self, title: str, ok: bool) -> None:
        elapsed = time.monotonic() - self._began[title]
        if self._live:
            self._bars.update(self._tasks[title], completed=1.0 if ok else None, detail="" if ok else "[red]stopped")
        else:
            console.print(f"{title}: {'done' if ok else 'stopped'} after {elapsed:.1f} s")

    @contextmanager
    def shown(self) -> Iterator[None]:
        if not self._live:
            yield
            return
        with self._bars:
            yield


@contextmanager
def progress_shown() -> Iterator[None]:
    """Shows the progress of library code for the duration of the block."""
    from flows.progress import use_front_end

    front_end = TerminalProgress()
    use_front_end(front_end)
    with front_end.shown():
        yield


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
