"""Progress of long work: library code reports a share and a text, a front end decides how to show it.

One front end per process: the terminal's (flows.cli.console) or none. This module draws nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Progress = Callable[[float, str], None]


class FrontEnd(Protocol):
    def begin(self, title: str) -> None: ...
    def update(self, title: str, share: float, text: str) -> None: ...
    def end(self, title: str, ok: bool) -> None: ...


class _Silent:
    def begin(self, title: str) -> None: ...
    def update(self, title: str, share: float, text: str) -> None: ...
    def end(self, title: str, ok: bool) -> None: ...


_front_end: FrontEnd = _Silent()


def use_front_end(front_end: FrontEnd) -> None:
    global _front_end
    _front_end = front_end


@contextmanager
def reporting(title: str) -> Iterator[Progress]:
    """A line of progress called `title` for the duration of the block."""
    _front_end.begin(title)
    try:
        yield lambda share, text: _front_end.update(title, share, text)
    except BaseException:
        _front_end.end(title, ok=False)
        raise
    _front_end.end(title, ok=True)
