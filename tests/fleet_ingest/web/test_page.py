"""The operators' page in a real browser against a real API and S3 server: files, a closed tab, a release, barriers."""

import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from fleet_ingest.robot.episode import run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment, PlannedEpisode
from storage.catalog.catalog import Catalog
from tests.fleet_ingest.harness import FLEET, ApiServer, S3Server, plan, wait_for

pytestmark = pytest.mark.timeout(240)
SERIAL = "cartpole-0001"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PICTURES = os.environ.get("PAGE_PICTURES")
"""A folder for screenshots, to be looked at."""


def log_of(seed: int, seconds: float = 1.0) -> bytes:
    planned = PlannedEpisode(index=0, seed=seed, duration_s=seconds, purpose="random")
    body = json.dumps({"id": 1, "key": "k", "robot": SERIAL, "plan": plan(1, "random")})
    return write_log(run_episode(FLEET.open(SERIAL), Assignment.from_json(body), planned, None))


def png() -> bytes:
    """Eight pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


class Site:
    """An installation with one robot and one operator of each role."""

    def __init__(self, folder: Path) -> None:
        self.s3 = S3Server(folder / "s3")
        self.s3.start()
        self.api = ApiServer(folder / "api", self.s3.config)
        self.api.start()
        self.catalog = Catalog.open(self.api.catalog_url)
        self.catalog.robots.register(SERIAL, FLEET.spec, kind="standin")
        self.secrets = {role: self.catalog.operators.add(role, role) for role in ("viewer", "operator", "admin")}

    def stop(self) -> None:
        self.catalog.close()
        self.api.kill()
        self.s3.kill()
        self.s3.remove_sockets()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("REQUIRE_BROWSER is set and there is no Chromium")
        pytest.skip("no browser: install Chromium, e.g. 'apt install chromium'")
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield made
        made.close()


def enter(context: BrowserContext, site: Site, role: str = "operator", page_name: str = "send") -> Page:
    """A page on which an operator of this role has signed in."""
    page = context.new_page()
    page.goto(f"{site.api.url}/web/#{page_name}")
    if page.get_by_label("Secret").count() or not page.get_by_role("navigation").get_by_role("link").count():
        page.get_by_label("Name").fill(role)
        page.get_by_label("Secret").fill(site.secrets[role])
        page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("navigation").get_by_role("link").first).to_be_visible()
    return page


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


def test_the_pages_own_sha256_is_sha256(browser: Browser, site: Site) -> None:
    page = browser.new_page()
    page.goto(f"{site.api.url}/web/")
    digest = """async (pieces) => {
      const { Sha256, hex } = await import("./js/sha256.js");
      const sum = new Sha256();
      for (const piece of pieces) sum.update(Uint8Array.from(piece));
      return hex(sum.digest());
    }"""
    # FIPS 180-4, examples; the empty message; a million times 'a'.
    assert page.evaluate(digest, []) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert page.evaluate(digest, [list(b"abc")]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    two = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    assert page.evaluate(digest, [list(two)]) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    millions = """async () => {
      const { Sha256, hex } = await import("./js/sha256.js");
      return hex(new Sha256().update(new Uint8Array(1e6).fill(97)).digest());
    }"""
    assert page.evaluate(millions) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    random = np.random.default_rng(0)
    for _ in range(20):
        data = random.bytes(int(random.integers(1, 400)))
        cuts = sorted(random.integers(0, len(data) + 1, 3).tolist())
        pieces = [list(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert page.evaluate(digest, pieces) == hashlib.sha256(data).hexdigest()
    page.close()


def test_files_notes_and_photos_are_taken_in_and_shown(browser: Browser, site: Site, tmp_path: Path) -> None:
    good, cut = log_of(1, 3.0), log_of(2, 3.0)[:-9000]
    (tmp_path / "good run.mcap").write_bytes(good)
    (tmp_path / "cut.mcap").write_bytes(cut)
    (tmp_path / "wheel.png").write_bytes(png())
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = enter(context, site)
    problems: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    page.get_by_label("Session").fill("field day 1")
    page.get_by_label("Notes").fill("new tyres")
    page.get_by_label("Photos").set_input_files(tmp_path / "wheel.png")
    page.locator("#pick-files").set_input_files([tmp_path / "good run.mcap", tmp_path / "cut.mcap"])
    first = page.locator("[data-name='good run.mcap']")
    expect(first.locator(".badge")).to_have_text("accepted", timeout=60_000)
    expect(first.locator("svg[aria-label*='pole.angle']")).to_be_visible()
    expect(first).to_contain_text("new tyres")
    expect(first.locator("dt", has_text="Episodes").locator("+ dd")).to_have_text("1")
    expect(first.get_by_alt_text("Photo: wheel.png")).to_be_visible()
    second = page.locator("[data-name='cut.mcap']")
    expect(second.locator(".badge")).to_have_text("quarantined", timeout=60_000)
    expect(second).to_contain_text("The file is cut off: its end is missing.")
    picture(page, "send-1400")
    assert problems == []
    endpoint = str(site.s3.config.endpoint_url).removeprefix("http://")
    assert asked <= {site.api.url.removeprefix("http://"), endpoint}, "a page that loads something from elsewhere"

    (row,) = site.catalog.uploads.page(name="good run")
    assert (row.session, row.sender, row.sha256) == (
        "field day 1",
        "operator:operator",
        hashlib.sha256(good).hexdigest(),
    )
    (episode,) = site.catalog.episodes.find(upload_ids=[row.id])
    ((note,),) = site.catalog.notes.of_episodes([episode.sha256]).values()
    assert (note.text, [p.sha256 for p in note.photos]) == ("new tyres", [hashlib.sha256(png()).hexdigest()])

    second.get_by_role("button", name="Release").click()
    page.get_by_label("Why").fill("the start is good")
    page.get_by_role("dialog").get_by_role("button", name="Release").click()
    wait_for(lambda: bool(site.catalog.audit.list(action="release")), 20, "the release")
    assert site.catalog.audit.list(action="release")[0].actor == "operator:operator"
    expect(second.locator(".notice")).to_be_visible()
    context.close()


def test_a_tab_closed_halfway_goes_on_from_the_parts_that_arrived(browser: Browser, site: Site, tmp_path: Path) -> None:
    data = np.random.default_rng(3).bytes(5 * 8 * 2**20 + 5)
    path = tmp_path / "long.mcap"
    path.write_bytes(data)
    context = browser.new_context(viewport={"width": 375, "height": 740})
    page = enter(context, site)
    slow = context.new_cdp_session(page)
    slow.send("Network.enable")
    limits = {"offline": False, "latency": 1, "downloadThroughput": -1, "uploadThroughput": 6_000_000}
    slow.send("Network.emulateNetworkConditions", limits)
    page.locator("#pick-files").set_input_files(path)

    def arrived() -> int:
        found = site.catalog.uploads.page(name="long.mcap")
        return len(site.catalog.uploads.parts(found[0].id)) if found else 0

    expect(page.locator("[data-name='long.mcap'] .facts")).to_contain_text("left", timeout=60_000)
    wait_for(lambda: _tick(page) and "uploading" in page.inner_text("[data-name='long.mcap']"), 30, "sending")
    wait_for(lambda: _tick(page) and _sent_mb(page) > 18, 60, "two parts")
    picture(page, "sending-375")
    page.close(run_before_unload=False)
    assert arrived() > 0
    (row,) = site.catalog.uploads.page(name="long.mcap")
    assert row.state == "receiving"

    page = enter(context, site)
    expect(page.get_by_text("Drop this file again to go on.")).to_be_visible()
    puts: list[str] = []
    page.on("request", lambda request: puts.append(request.url) if request.method == "PUT" else None)
    page.locator("#pick-files").set_input_files(path)
    item = page.locator("[data-name='long.mcap']")
    expect(item.locator(".badge")).to_have_text("quarantined", timeout=60_000)  # random bytes are no log
    assert 1 <= len(puts) <= 4, "parts that had arrived were sent again"
    (row,) = site.catalog.uploads.page(name="long.mcap")
    assert (row.state, row.sha256) == ("quarantined", hashlib.sha256(data).hexdigest())
    context.close()


def _tick(page: Page) -> bool:
    page.wait_for_timeout(50)
    return True


def _sent_mb(page: Page) -> float:
    words = page.inner_text("[data-name='long.mcap'] .facts")
    number, unit = words.split(": ")[1].split(" of ")[0].split()
    return float(number) * {"MB": 1.0, "kB": 1e-3, "B": 1e-6}[unit]


def test_pause_and_resume_by_keyboard(browser: Browser, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "paused.mcap"
    path.write_bytes(np.random.default_rng(4).bytes(20 * 2**20))
    context = browser.new_context()
    page = enter(context, site)
    slow = context.new_cdp_session(page)
    slow.send("Network.enable")
    limits = {"offline": False, "latency": 1, "downloadThroughput": -1, "uploadThroughput": 8_000_000}
    slow.send("Network.emulateNetworkConditions", limits)
    page.locator("#pick-files").set_input_files(path)
    item = page.locator("[data-name='paused.mcap']")
    expect(item.locator(".badge")).to_have_text("uploading", timeout=30_000)
    item.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(item.locator(".badge")).to_have_text("paused")
    time.sleep(0.5)
    item.get_by_role("button", name="Resume").focus()
    page.keyboard.press("Space")
    expect(item.locator(".badge")).to_have_text("quarantined", timeout=60_000)
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1400, "dark")])
def test_no_page_has_barriers_or_scrolls_sideways(browser: Browser, site: Site, width: int, scheme: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    site.catalog.keys.ask(SERIAL, "A" * 43 + "=", "a new board")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{site.api.url}/web/")
    expect(page.get_by_label("Secret")).to_be_visible()
    found = {"sign-in": Axe().run(page)}
    picture(page, f"sign-in-{width}-{scheme}")
    page.close()
    page = enter(context, site, "admin")
    for name in ("send", "history", "episodes", "robots", "admin"):
        page.goto(f"{site.api.url}/web/#{name}")
        expect(page.get_by_role("navigation").locator("[aria-current]")).to_have_attribute("href", f"#{name}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        if name == "history" and page.get_by_role("button", name="Details").count():
            page.get_by_role("button", name="Details").last.click()
            page.wait_for_timeout(500)
        page.wait_for_timeout(300)
        found[name] = Axe().run(page)
        picture(page, f"{name}-{width}-{scheme}")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, name
    wrong = {name: [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in result.response["violations"]]
             for name, result in found.items() if result.violations_count}  # fmt: skip
    assert wrong == {}
    context.close()


def test_a_viewer_sees_and_cannot_send_and_wrong_secrets_are_refused(browser: Browser, site: Site) -> None:
    context = browser.new_context()
    page = enter(context, site, "viewer")
    expect(page.get_by_text("you can look at what was sent, not send")).to_be_visible()
    assert page.locator("#pick-files").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Name").fill("viewer")
    page.get_by_label("Secret").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not go together")
    context.close()
