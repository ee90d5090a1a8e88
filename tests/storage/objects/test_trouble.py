"""The object store in bad company: a server that is killed midway, and a shell full of other people's settings."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.objects import ObjectStore, S3Config

if TYPE_CHECKING:
    S3Server = Any


def test_puts_survive_sigkill_of_the_server(own_s3: "S3Server") -> None:
    """Killed while four threads write; back a few seconds later. Every acknowledged object is there afterwards."""
    store = ObjectStore(own_s3.config)
    stored: list[str] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def write(name: int) -> None:
        count = 0
        while not stop.is_set():
            data = hashlib.shake_128(f"{name} {count}".encode()).digest(300_000)
            try:
                stored.append(store.put_bytes(data))
            except Exception as error:
                errors.append(error)
                return
            count += 1

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    before = len(stored)
    own_s3.stop()
    time.sleep(2.0)
    own_s3.start(wait=False)
    deadline = time.monotonic() + 40
    while len(stored) < before + 12 and not errors and time.monotonic() < deadline:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert before > 0
    assert len(stored) >= before + 12, "puts went on after the restart"
    assert all(hashlib.sha256(store.get_bytes(digest)).hexdigest() == digest for digest in stored)


POISONED = """
import json, os, sys
from storage.objects import ObjectStore, S3Config
store = ObjectStore(S3Config.model_validate(json.loads(sys.stdin.read())))
digest = store.put_bytes(b"through poison")
print(store.get_bytes(digest).decode(), store.presign_get(digest).split("/objects/")[0])
"""


def test_a_poisoned_shell_is_ignored(s3_config: S3Config, tmp_path: Path) -> None:
    nonsense = tmp_path / "config"
    nonsense.write_text("[profile broken\nregion = mars\ns3 =\n  addressing_style = virtual\n")
    names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_CA_BUNDLE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_MAX_ATTEMPTS",
        "AWS_RETRY_MODE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_DEFAULTS_MODE",
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "AWS_RESPONSE_CHECKSUM_VALIDATION",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_SDK_UA_APP_ID",
        "REQUESTS_CA_BUNDLE",
        "AWS_AUTH_SCHEME_PREFERENCE",
    ]
    proxies = {
        name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")
    }
    files = {name: str(nonsense) for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    done = subprocess.run(
        [sys.executable, "-c", POISONED],
        input=json.dumps(s3_config.reveal()),
        env=os.environ | dict.fromkeys(names, "poison") | proxies | files,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["through", "poison", f"{s3_config.endpoint_url}/{s3_config.bucket}"]


def test_without_keys_the_default_chain_is_used(s3_config: S3Config) -> None:
    """The same poison reaches a configuration that leaves the credentials to boto3: that is what it asks for."""
    values = s3_config.reveal() | {"access_key_id": None, "secret_access_key": None}
    keys = {
        "AWS_ACCESS_KEY_ID": s3_config.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_config.reveal()["secret_access_key"],
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    for environment, expected in ((keys, 0), ({"AWS_ACCESS_KEY_ID": "poison", "AWS_SECRET_ACCESS_KEY": "poison"}, 1)):
        done = subprocess.run(
            [sys.executable, "-c", POISONED],
            input=json.dumps(values),
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == expected, done.stderr
