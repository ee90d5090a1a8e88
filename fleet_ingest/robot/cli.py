"""`sim2real-robot`: the process that runs beside one robot. Standard library's argument parser, to stay small."""

import argparse
import os
import platform
import signal
import sys
from pathlib import Path
from types import FrameType

from storage.contracts.errors import Sim2RealError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog="sim2real-robot",
        description="Runs what is assigned to one robot and uploads its logs.",
        epilog="'sim2real-robot status --serial SERIAL' says what waits on the disk and what was evicted; "
        "'sim2real-robot describe --driver NAME' says what a driver drives.",
    )
    words.add_argument(
        "--driver",
        required=True,
        help="standin:cartpole, gymnasium:ID, dm_control:DOMAIN-TASK or python:MODULE:FACTORY",
    )
    words.add_argument("--serial", required=True, help="the robot's serial number, for example cartpole-0001")
    words.add_argument("--api", required=True, help="address of the API, for example http://127.0.0.1:20123")
    words.add_argument(
        "--key-file",
        type=Path,
        help="file with the robot's own key, made when there is none; default STATE/robot.key. An operator admits it.",
    )
    words.add_argument("--state", type=Path, help="directory for the spool; default ~/.sim2real-robot/SERIAL")
    words.add_argument("--poll-s", type=float, default=2.0, help="seconds between questions for an assignment")
    words.add_argument("--limit-mbps", type=float, help="at most so many megabits per second for logs")
    words.add_argument("--proxy", default=None, help="HTTP proxy; variables of the shell are ignored")
    return words


def robot_argv(
    driver: str, serial: str, *, api: str, key_file: Path | str, state: Path | str, poll_s: float = 0.2
) -> list[str]:
    """Command line of the process of robot `serial`, for this interpreter."""
    return [
        sys.executable, "-m", "fleet_ingest.robot", "--driver", driver, "--serial", serial,
        "--api", api, "--key-file", str(key_file), "--state", str(state), "--poll-s", f"{poll_s:g}",
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 0 after SIGTERM or Ctrl-C, else that of the error."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["status"]:
        from fleet_ingest.robot.status import main as status

        return status(words[1:])
    if words[:1] == ["describe"]:
        from fleet_ingest.robot.describe import main as describe

        return describe(words[1:])
    arguments = parser().parse_args(words)
    for name in _THREADS:
        os.environ.setdefault(name, "1")
    try:
        return _run(arguments)
    except Sim2RealError as error:
        sys.stderr.write(f"sim2real-robot: {error}\n{error.remedy}\n")
        return error.exit_code


def _run(arguments: argparse.Namespace) -> int:
    from fleet_ingest.robot.agent import Agent, note_to_stderr
    from fleet_ingest.robot.credentials import RobotKey
    from fleet_ingest.robot.drivers import open_driver
    from fleet_ingest.robot.throttle import Throttle

    state = arguments.state or Path.home() / ".sim2real-robot" / arguments.serial
    key = RobotKey.load(arguments.key_file or state / "robot.key", arguments.serial, note=platform.node())
    agent = Agent(
        open_driver(arguments.driver, arguments.serial),
        arguments.serial,
        api=arguments.api,
        credentials=key,
        state=state,
        poll_s=arguments.poll_s,
        note=note_to_stderr(arguments.serial),
        proxy=arguments.proxy,
        throttle=Throttle(arguments.limit_mbps * 1e6 / 8) if arguments.limit_mbps else None,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        agent.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        agent.run()
    finally:
        agent.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
