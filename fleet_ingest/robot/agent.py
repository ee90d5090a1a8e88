"""The robot process's loop: bring home what is spooled, take the assignment, run it, bring its logs home, complete it.

Every step can be repeated: a robot that was killed starts at the top and finds in its spool what it has done. The
process never opens the catalog or the object store itself; it knows the API's address and its own key.
"""

import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from fleet_ingest.robot.client import Client, Refused, Stopped
from fleet_ingest.robot.credentials import Credentials
from fleet_ingest.robot.driver import RobotDriver
from fleet_ingest.robot.episode import Interrupted, run_episode
from fleet_ingest.robot.log import write_log
from fleet_ingest.robot.plan import Assignment
from fleet_ingest.robot.protocol import CompleteAssignment, LostLogs, RefuseAssignment
from fleet_ingest.robot.spool import Spool
from fleet_ingest.robot.throttle import Throttle
from fleet_ingest.robot.uploader import Uploader
from policy.runtime.runner import PolicyRunner
from storage.contracts.errors import ContractError, DataError, InputError, Sim2RealError, UnavailableError

MAX_POLICY_BYTES = 64 * 2**20


class Agent:
    """One robot. `stop()` may be called from a signal handler."""

    def __init__(
        self,
        driver: RobotDriver,
        serial: str,
        *,
        api: str,
        credentials: Credentials,
        state: Path,
        poll_s: float,
        note: Callable[[str], None] = lambda text: None,
        proxy: str | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self._driver = driver
        self._serial = serial
        self._poll_s = poll_s
        self._note = note
        self._stop = threading.Event()
        self._client = Client(api, credentials, pause=self._stop.wait, note=note, proxy=proxy, throttle=throttle)
        self._spool = Spool(state, serial)
        self._uploader = Uploader(self._client, self._spool, serial)
        self._refused: set[str] = set()

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._driver.stop()
        self._client.close()
        self._spool.close()

    def run(self) -> None:
        """Works until `stop`. Refusals of the API are noted and waited out; they never end the process."""
        try:
            self._insist(self._register)
            while not self._stop.is_set():
                worked = self._insist(self._work)
                if not worked:
                    self._stop.wait(self._poll_s)
        except (Stopped, Interrupted):
            self._note("stopped")

    def _insist(self, step: Callable[[], bool]) -> bool:
        """`step()`; what is wrong is noted, and the robot goes on polling."""
        try:
            return step()
        except (Sim2RealError, OSError, sqlite3.OperationalError) as error:
            self._note(f"{type(error).__name__}: {error} {getattr(error, 'remedy', '')}".rstrip())
            self._stop.wait(max(self._poll_s, 1.0))
            return False

    def _register(self) -> bool:
        self._client.call("PUT", f"/robots/{self._serial}", self._driver.spec)
        return True

    def _work(self) -> bool:
        """One round; True when an assignment was completed."""
        self._report_lost()
        self._drain()
        answer = self._client.call("GET", f"/robots/{self._serial}/assignment")
        if not answer:
            return False
        assignment = Assignment.from_json(answer)
        try:
            policy = self._prepare(assignment)
            self._run(assignment, policy)
        except UnavailableError:
            raise
        except (InputError, DataError) as error:
            code = error.code if isinstance(error, DataError) else "unfit"
            refusal = RefuseAssignment(code=code, message=str(error)[:2000])
            self._client.call("POST", f"/assignments/{assignment.id}/refuse", refusal)
            raise
        self._drain()
        done = self._spool.episodes(assignment.key)
        logs = tuple(done[e.index] for e in assignment.plan.episodes if e.index in done)
        if len(logs) < len(assignment.plan.episodes):
            return True  # a log spoiled on disk: its episode is run again in the next round
        self._client.call("POST", f"/assignments/{assignment.id}/complete", CompleteAssignment(logs=logs))
        self._note(f"completed {assignment.key}: {len(logs)} logs")
        return True

    def _prepare(self, assignment: Assignment) -> PolicyRunner | None:
        """The policy of the assignment, once all of it fits this robot. Raises InputError or DataError."""
        if assignment.robot != self._serial:
            raise InputError(
                f"assignment '{assignment.key}' is for robot '{assignment.robot}', this is '{self._serial}'"
            )
        assignment.plan.task.check(self._driver.spec)
        if assignment.manifest is None or assignment.onnx_url is None:
            return None
        manifest, spec = assignment.manifest, self._driver.spec
        if manifest.digest != assignment.policy:
            raise DataError(
                f"the manifest has digest {manifest.digest[:12]}, the assignment names {str(assignment.policy)[:12]}",
                code="digest",
            )
        theirs = (manifest.spec.state_layout.channels, manifest.spec.command_layout.channels, manifest.control_rate_hz)
        if theirs != (spec.state_layout.channels, spec.command_layout.channels, spec.control_rate_hz):
            raise InputError(
                f"policy '{manifest.name}' was made for '{manifest.spec.name}' version {manifest.spec.version} at "
                f"{manifest.control_rate_hz:g} Hz; its channels or rate differ from this robot's '{spec.name}'"
            )
        return PolicyRunner(manifest, self._client.get_bytes(assignment.onnx_url, MAX_POLICY_BYTES))

    def _run(self, assignment: Assignment, policy: PolicyRunner | None) -> None:
        done = self._spool.episodes(assignment.key)
        for planned in sorted(assignment.plan.episodes, key=lambda e: e.index):
            if planned.index not in done:
                recording = run_episode(self._driver, assignment, planned, policy, self._stop.is_set)
                self._spool.put(assignment.key, planned.index, write_log(recording), assignment_id=assignment.id)

    def _report_lost(self) -> None:
        """Tells the server of logs that were evicted or spoiled; one that will not hear of it holds nothing up."""
        while lost := self._spool.unreported():
            logs = [
                {
                    "sha256": t.sha256, "size": t.size, "priority": t.priority, "name": t.name, "reason": t.reason,
                    "at_ns": t.evicted_ns,
                }
                for t in lost.values()
            ]  # fmt: skip
            try:
                body = LostLogs.model_validate({"logs": logs})
                self._client.call("POST", f"/robots/{self._serial}/lost", body)
            except (Refused, ContractError, ValueError) as error:
                if "lost" not in self._refused:
                    self._note(f"the server was not told of {len(lost)} lost logs: {error}")
                self._refused.add("lost")
                return
            self._spool.reported(lost)

    def _drain(self) -> None:
        """Uploads what waits. A log that the server refuses stays and does not hold up the others."""
        tried: set[str] = set()
        while log := next((log for log in self._spool.waiting() if log.sha256 not in tried), None):
            tried.add(log.sha256)
            try:
                self._uploader.upload(log)
            except Refused as error:
                if log.sha256 not in self._refused:
                    self._note(f"the server refuses log {log.sha256[:12]}: {error} {error.remedy}".rstrip())
                self._refused.add(log.sha256)
            except DataError as error:
                if error.code != "spoiled":
                    raise
                self._note(str(error))


def note_to_stderr(serial: str) -> Callable[[str], None]:
    """Writes one line per event to standard error."""

    def note(text: str) -> None:
        sys.stderr.write(f"{serial}: {text}\n")
        sys.stderr.flush()

    return note
