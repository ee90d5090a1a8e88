"""Starts one service under its watcher. Decides nothing about when or how often."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from storage.embedded.environment import clean_environment
from storage.embedded.files import write_atomic
from storage.embedded.home import Home
from storage.embedded.reap import MARK
from storage.embedded.records import Records
from storage.embedded.service import ServiceSpec
from storage.embedded.watched import Watched, log_path, mark_of, pipe_path

ADOPTION_GRACE_S = 5.0
"""How long services outlive a supervisor that was killed, so that the next one may adopt them."""
_LOG_LIMIT = 4 * 1024 * 1024


def launch(home: Home, records: Records, spec: ServiceSpec, digest: str) -> Watched:
    """Starts the watcher of `spec` (filled), which starts the service. Raises OSError when the machine refuses."""
    order = _prepare(home, records, spec, digest)
    write_atomic(records.launch_path(spec.name), json.dumps(order).encode())
    with records.supervisor_log.open("ab") as supervisor_log:
        # -S leaves out site-packages, which the watcher imports when it needs psutil
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "storage.embedded.child", str(records.launch_path(spec.name))],
            stdin=subprocess.DEVNULL,
            stdout=supervisor_log,
            stderr=supervisor_log,
            env=clean_environment({MARK: mark_of(home, spec.name)}),
            cwd=home.path,
            start_new_session=True,
        )
    return Watched(home, records, spec.name, process)


def _prepare(home: Home, records: Records, spec: ServiceSpec, digest: str) -> dict[str, object]:
    """Makes the pipe and turns the log over; what the watcher has to know."""
    pipe = pipe_path(home.runtime_dir, spec.name)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe, 0o600)
    records.drop_child(spec.name)
    log = log_path(home, spec.name)
    return {
        "argv": spec.argv,
        "env": clean_environment({**spec.env, MARK: mark_of(home, spec.name)}),
        "cwd": spec.cwd,
        "log": str(log),
        "log_offset": rotate(log),
        "pipe": str(pipe),
        "runtime": str(home.runtime_path),
        "record": str(records.child_path(spec.name)),
        "scratch": spec.scratch,
        "stop_timeout_s": spec.stop_timeout_s,
        "grace_s": ADOPTION_GRACE_S,
        "mark": mark_of(home, spec.name),
        "digest": digest,
        "started_ns": time.time_ns(),
    }


def rotate(log: Path) -> int:
    """Keeps one old log when it has grown past 4 MiB; returns the size in bytes of what is there."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        else:
            return log.stat().st_size
    return 0
