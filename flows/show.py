"""Where a campaign is shown while it runs. The catalog is the truth; what is shown here may be lost without harm."""

from collections.abc import Callable
from typing import Protocol

from flows.steps import Result, Step


class Show(Protocol):
    """Wraps the running of steps and iterations; both return what the given function returns."""

    def step(self, step: Step, run: Callable[[], Result]) -> Result: ...

    def iteration(self, index: int, run: Callable[[], Result]) -> Result: ...

    def report(self, key: str, markdown: str) -> None: ...


class Plain:
    """Shows nothing: for tests and for callers without a Prefect server."""

    def step(self, step: Step, run: Callable[[], Result]) -> Result:
        return run()

    def iteration(self, index: int, run: Callable[[], Result]) -> Result:
        return run()

    def report(self, key: str, markdown: str) -> None:
        return
