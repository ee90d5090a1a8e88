"""Steps run once, whoever asks and whatever dies. On the real catalog, SQLite and PostgreSQL."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flows.steps import effect_step, pure_step, run_once
from storage.catalog.catalog import Catalog


def test_a_finished_step_is_found_and_not_run_again(catalog: Catalog) -> None:
    step = pure_step("add", 1, config={"a": 1}, seed=0, inputs=["x"])
    ran: list[int] = []

    def body() -> dict[str, object]:
        ran.append(1)
        return {"sum": 3}

    first = run_once(catalog, step, body)
    assert first["sum"] == 3
    assert run_once(catalog, step, body) == first
    assert ran == [1]


@pytest.mark.parametrize("change", [{"version": 2}, {"config": {"a": 2}}, {"seed": 1}, {"inputs": ["y"]}])
def test_whatever_a_result_depends_on_is_in_its_key(change: dict[str, object]) -> None:
    base: dict[str, object] = {"version": 1, "config": {"a": 1}, "seed": 0, "inputs": ["x"]}
    keys = {pure_step("add", **(base | c)).key for c in ({}, change)}  # type: ignore[arg-type]
    assert len(keys) == 2


def test_pure_steps_are_shared_by_campaigns_and_steps_with_effects_are_not() -> None:
    pure = [pure_step("add", 1, config=1, seed=0, inputs=[], campaign=c, iteration=0).key for c in ("a-1", "a-2")]
    effects = [effect_step("collect", 1, campaign=c, iteration=0).key for c in ("a-1", "a-2")]
    assert pure[0] == pure[1]
    assert effects[0] != effects[1]


def test_a_step_that_failed_may_be_tried_again(catalog: Catalog) -> None:
    step = pure_step("add", 1, config={}, seed=0, inputs=[])

    def fails() -> dict[str, object]:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        run_once(catalog, step, fails)
    assert run_once(catalog, step, lambda: {"sum": 1})["sum"] == 1


def test_two_at_once_share_one_run(catalog: Catalog) -> None:
    step = pure_step("slow", 1, config={}, seed=0, inputs=[])
    ran: list[int] = []

    def body() -> dict[str, object]:
        ran.append(1)
        time.sleep(0.5)
        return {"n": len(ran)}

    results: list[dict[str, object]] = []
    threads = [threading.Thread(target=lambda: results.append(run_once(catalog, step, body))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert ran == [1]
    assert [r["n"] for r in results] == [1, 1, 1]


def test_a_step_whose_process_was_killed_is_taken_over_at_once(
    catalog_url: str, catalog: Catalog, tmp_path: Path
) -> None:
    """The lease lasts a minute; that the owner is dead is seen at once."""
    mark = tmp_path / "begun"
    child = multiprocessing.get_context("spawn").Process(target=_hang, args=(catalog_url, str(mark)))
    child.start()
    while not mark.exists():
        assert child.is_alive()
        time.sleep(0.02)
    os.kill(int(child.pid or 0), signal.SIGKILL)
    child.join(timeout=30)
    begin = time.monotonic()
    step = pure_step("hang", 1, config={}, seed=0, inputs=[])
    assert run_once(catalog, step, lambda: {"by": "another"})["by"] == "another"
    assert time.monotonic() - begin < 20


def _hang(url: str, mark: str) -> None:
    def body() -> dict[str, object]:
        Path(mark).touch()
        time.sleep(600)
        return {}

    with Catalog.open(url) as catalog:
        run_once(catalog, pure_step("hang", 1, config={}, seed=0, inputs=[]), body)
