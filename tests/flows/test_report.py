"""The self-contained page: everything inline, nothing fetched; and, with a browser, nothing broken or cut off."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.report import charts
from flows.report.page import Page, Plot, Section, write_page
from flows.report.text import compounding_table, iteration_markdown

HORIZONS = ("0.1", "0.5", "1.0")


def record(i: int) -> dict[str, Any]:
    returns = {
        "mean": 50.0 + 40 * i,
        "n": 24,
        "robots": 3,
        "ci95": [40.0 + 40 * i, 60.0 + 40 * i],
        "per_robot": {"r-1": 50.0},
    }
    errors = {h: (3 - i) * float(h) / 4 for h in HORIZONS}
    return {
        "iteration": i,
        "real_return": returns,
        "sim_return": returns,
        "sim_error": errors,
        "hold_last_error": dict.fromkeys(HORIZONS, 1.0),
        "sim_error_windows": dict.fromkeys(HORIZONS, 78),
        "new_log_error": errors,
        "new_log_hold_last_error": errors,
        "new_log_windows": dict.fromkeys(HORIZONS, 99),
        "real_seconds": 100.0 * (i + 1),
        "wall_seconds": 30.0,
        "wall_seconds_by_step": {"train simulator": 20.0, "robots": 10.0},
        "simulator": "a" * 64,
        "policy": "b" * 64,
        "dataset": "c" * 64,
    }


RECORDS = [record(i) for i in range(3)]


def page() -> Page:
    time_s = np.arange(100) / 50
    measured = np.stack([np.sin(time_s), np.cos(time_s)], axis=1)
    samples = measured + np.random.default_rng(0).normal(0, 0.1, (20, 100, 2))
    plots = [
        charts.compounding(RECORDS, 5.0, 170.0),
        charts.errors(RECORDS),
        charts.time_spent(RECORDS),
        charts.fan(time_s, measured, samples, ("x", "v"), ("m", "m/s"), "robot <1>"),
    ]
    return Page(
        "A <title>",
        "A lead.",
        [{"value": "1", "label": "card"}],
        [Section("S", plots=[Plot(p, "plot") for p in plots])],
    )


def test_the_page_loads_nothing_and_escapes_names(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write_page(page(), target)
    html = target.read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in html
    assert html.count("<svg") == 4
    assert not re.search(r'(?:src|href)="(?!#|data:)', html.replace("xlink:href", "href")), (
        "a page that loads something"
    )


def test_equal_figures_give_equal_bytes() -> None:
    assert charts.compounding(RECORDS, 5.0, None) == charts.compounding(RECORDS, 5.0, None)


def test_the_table_and_the_markdown_show_every_iteration() -> None:
    result = {"campaign": "c-1", "iterations": RECORDS, "random_return": 5.0, "oracle_return": 170.0}
    assert compounding_table(result).row_count == 5  # random, three iterations, oracle
    text = iteration_markdown(RECORDS[1], "cartpole")
    assert "90.0 [80.0, 100.0]" in text
    assert "| 0.5 s | 0.250 | 1.000 | 78 |" in text


def test_a_browser_shows_the_page_whole(tmp_path: Path) -> None:
    browser = next((found for name in ("chromium", "google-chrome", "chrome") if (found := shutil.which(name))), None)
    if browser is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set and there is no Chromium")
        pytest.skip("no browser: install Chromium, e.g. 'apt install chromium'")
    from playwright.sync_api import sync_playwright

    target = tmp_path / "report.html"
    write_page(page(), target)
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=arguments)
        view = chromium.new_page(viewport={"width": 900, "height": 700})
        asked: list[str] = []
        problems: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.on("console", lambda message: problems.append(message.text))
        view.goto(target.as_uri())
        sizes = view.eval_on_selector_all("svg", "nodes => nodes.map(n => n.getBoundingClientRect().width)")
        scrolls = view.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        chromium.close()
    assert asked == [target.as_uri()]
    assert problems == []
    assert len(sizes) == 4
    assert all(100 < width <= 900 for width in sizes)
    assert scrolls <= 0, "the page is wider than the window"
