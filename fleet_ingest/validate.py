"""Reads logs in a child process with caps on memory, processor time and wall time: uploads are hostile until shown
harmless.

A `Sandbox` keeps one child and starts another when that one dies, so that many files cost one start. The child may read
and write files as this process may: what it is kept from is taking the machine's memory and time, and from taking this
process down with it. This module stores nothing.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self

from fleet_ingest.card import card_of
from fleet_ingest.formats.rawlog import Limits
from fleet_ingest.mapping import Mapping
from storage.contracts.episode import QualityFlag

_FAULTS = frozenset({-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE})


@dataclass(frozen=True)
class Verdict:
    """What became of one file in the child.

    Attributes:
        state: accepted, salvaged (part of it could not be read) or quarantined.
        code, detail, remedy: the reason in one word and in plain words, empty for accepted files.
        episodes: encoded episodes, as files in the directory that the caller gave.
        user_error: the mapping or the call is wrong rather than the file.
        card: the `FileCard` of the file as JSON.
        media: digest -> file of the clips that the episodes refer to.
        peak_bytes: the most memory that the child ever took.
    """

    state: str
    code: str = ""
    detail: str = ""
    remedy: str = ""
    flags: tuple[QualityFlag, ...] = ()
    episodes: tuple[Path, ...] = ()
    rate_hz: float = 0.0
    gaps: int = 0
    user_error: bool = False
    card: dict[str, Any] | None = None
    media: dict[str, str] = field(default_factory=dict)
    peak_bytes: int = 0


class Sandbox:
    """A child that reads files for us; safe to share between threads, which take turns. Close it, or use `with`."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._lines: Queue[str] = Queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._stop()

    def read(
        self,
        path: Path,
        mapping: Mapping | None,
        *,
        raw_sha256: str,
        out: Path,
        logical_path: str = "",
        robot: str | None = None,
        release: bool = False,
    ) -> Verdict:
        """Reads and converts `path`; the encoded episodes are written into the directory `out`.

        `release`: a person said that what is readable of a broken file is to be used. Raises nothing for bad files.
        """
        request = {
            "path": str(path.absolute()), "mapping": None if mapping is None else mapping.to_json().decode(),
            "raw_sha256": raw_sha256, "out": str(out.absolute()),
            "logical_path": logical_path, "robot": robot, "release": release, "limits": asdict(self.limits),
        }  # fmt: skip
        with self._lock:
            answer = self._ask(json.dumps(request))
        return _with_card(_verdict(answer, out), path)

    def inspect(self, path: Path, format: str | None = None) -> Verdict:
        """Can the log at `path` be read at all? Decodes every series; makes no episodes and needs no mapping."""
        request = {"path": str(path.absolute()), "format": format, "limits": asdict(self.limits), "read_only": True}
        with self._lock:
            answer = self._ask(json.dumps(request))
        return _with_card(_verdict(answer, path.parent), path)

    def _ask(self, request: str) -> dict[str, Any]:
        child = self._child if self._child is not None and self._child.poll() is None else self._start()
        try:
            assert_pipe(child.stdin).write(request + "\n")
            assert_pipe(child.stdin).flush()
            line = self._lines.get(timeout=self.limits.wall_s)
        except Empty:
            self._stop()
            return _killed("too_slow", f"reading took more than {self.limits.wall_s:g} s and was stopped")
        except (BrokenPipeError, ValueError):
            line = ""
        if not line:
            code = child.wait(timeout=10)
            self._stop()
            if code in _FAULTS:
                return _killed("breaks_reader", f"it made the library that reads its format fail ({_cause(code)})")
            how = f"reading ended the process that read it ({_cause(code)}): it takes too much memory or time"
            return _killed("too_costly", how)
        answer: dict[str, Any] = json.loads(line)
        if answer.get("code") == "too_costly":
            self._stop()
        return answer

    def _start(self) -> subprocess.Popen[str]:
        self._stop()
        environment = {
            key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG", "SYSTEMROOT") if key in os.environ
        }
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        environment |= {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONDONTWRITEBYTECODE": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "fleet_ingest.validate_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self._lines = Queue()
        threading.Thread(target=_pump, args=(assert_pipe(self._child.stdout), self._lines), daemon=True).start()
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


def validate_in_child(path: Path, format: str | None = None, limits: Limits | None = None) -> Verdict:
    """Can the log at `path` be read at all? Decodes every series in a capped child; makes no episodes."""
    with Sandbox(limits) as sandbox:
        return sandbox.inspect(path, format)


def _with_card(verdict: Verdict, path: Path) -> Verdict:
    """A card without contents where the child did not live to make one."""
    if verdict.card is not None:
        return verdict
    size = path.stat().st_size if path.is_file() else 0
    return replace(verdict, card=dict(card_of(None, verdict, file_bytes=size).model_dump(mode="json")))


def assert_pipe(pipe: Any) -> Any:
    """The pipe; a child is always started with both."""
    if pipe is None:
        raise BrokenPipeError("the child has no pipe")
    return pipe


def _pump(pipe: Any, lines: "Queue[str]") -> None:
    """Hands lines on as they come; an empty one at the end."""
    try:
        for line in pipe:
            lines.put(line)
    except ValueError:
        pass
    lines.put("")


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _killed(code: str, detail: str) -> dict[str, Any]:
    return {
        "state": "quarantined",
        "code": code,
        "detail": detail,
        "remedy": "Split the log, or check where it comes from.",
    }


def _verdict(answer: dict[str, Any], out: Path) -> Verdict:
    flags = tuple(QualityFlag.model_validate(flag) for flag in answer.pop("flags", ()))
    episodes = tuple(out / name for name in answer.pop("episodes", ()))
    return Verdict(flags=flags, episodes=episodes, **answer)
