"""The OpenAPI page is true: schemathesis asks a real server for everything it describes, and for what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from storage.catalog.catalog import Catalog
from tests.fleet_ingest.harness import FLEET, ApiServer, S3Server, headers

CONFIG = Path(__file__).with_name("schemathesis.toml")


def ask(url: str, folder: Path, *options: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs schemathesis with the installation's token; it leaves its notes in `folder`."""
    words = ["run", f"{url}/openapi.json", "--header", f"Authorization: {headers()['Authorization']}", "--workers", "1"]
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), *words, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=folder)


@pytest.mark.timeout(240)
def test_schemathesis_finds_nothing(tmp_path: Path, s3_server: S3Server) -> None:
    """The uploads' routes here; benchmark `ingest_hostile` asks all of them, and more."""
    api = ApiServer(tmp_path / "api", s3_server.config)
    api.start()
    try:
        with Catalog.open(api.catalog_url) as catalog:
            catalog.robots.register("cartpole-0001", FLEET.spec)
        only = ("--include-path-regex", "^/uploads", "--phases", "coverage,fuzzing", "--max-examples", "2")
        done = ask(api.url, tmp_path, *only, "--seed", "1", timeout_s=200)
    finally:
        api.kill()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "Tested: " in done.stdout
