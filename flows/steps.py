"""Steps: the unit that runs once. A step has a key; its result is a small JSON object in the catalog.

Pure steps are keyed by what they compute (name, version, configuration, seed, input digests), so that any campaign that
needs the same thing finds it. Steps with effects are keyed by (campaign, iteration, name). A step whose process was
killed is claimed again by the next one and goes on from its own checkpoint. Prefect shows steps; it does not decide
whether they ran."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from storage.catalog.catalog import Catalog
from storage.catalog.owners import this_process
from storage.contracts.canonical import digest_of
from storage.contracts.errors import ConflictError

Result = dict[str, Any]
_LEASE_S = 60.0
_BEAT_S = 10.0
_WAIT_S = 0.5


@dataclass(frozen=True)
class Step:
    """One step of a campaign. `version` is raised by hand when the meaning of the result changes."""

    name: str
    version: int
    key: str
    campaign: str | None = None
    iteration: int | None = None


def pure_step(
    name: str,
    version: int,
    *,
    config: Any,
    seed: int,
    inputs: list[str],
    campaign: str | None = None,
    iteration: int | None = None,
) -> Step:
    key = digest_of({"step": name, "version": version, "config": config, "seed": seed, "inputs": inputs})
    return Step(name, version, f"{name}:{key}", campaign, iteration)


def effect_step(name: str, version: int, *, campaign: str, iteration: int) -> Step:
    return Step(name, version, f"{campaign}/{iteration}/{name}", campaign, iteration)


def run_once(catalog: Catalog, step: Step, body: Callable[[], Result]) -> Result:
    """The step's stored result, or that of running `body` now. Waits while another live process runs the same step.

    Raises what `body` raises; the claim is then given back. ConflictError if the claim was lost meanwhile.
    """
    owner = this_process(str(threading.get_ident()))
    while True:
        claim = catalog.steps.claim(
            step.key, owner=owner, name=step.name, campaign=step.campaign, iteration=step.iteration, lease_s=_LEASE_S
        )
        if claim.state == "done":
            return dict(claim.result or {})
        if claim.state == "claimed":
            break
        time.sleep(min(_WAIT_S, max(claim.wait_s, 0.05)))
    try:
        with _heartbeat(catalog, step.key, owner):
            start = time.monotonic()
            result = body() | {"wall_seconds": round(time.monotonic() - start, 3)}
    except BaseException as error:
        _give_back(catalog, step.key, owner, error)
        raise
    catalog.steps.finish(step.key, owner, result)
    return result


def _give_back(catalog: Catalog, key: str, owner: str, error: BaseException) -> None:
    try:
        catalog.steps.fail(key, owner, f"{type(error).__name__}: {error}"[:2000])
    except ConflictError:
        return


@contextmanager
def _heartbeat(catalog: Catalog, key: str, owner: str) -> Iterator[None]:
    """Renews the claim in a thread while the body runs."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            try:
                catalog.steps.heartbeat(key, owner)
            except ConflictError:
                return

    thread = threading.Thread(target=beat, name=f"heartbeat-{key[:24]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
