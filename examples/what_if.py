"""Asks the pretrained simulator about a robot that it has never seen: what if its payload were other, and when does a
push matter most? Run: python -m examples.what_if [BUNDLE]

The robot is a drawn stand-in of a split that no training used. The simulator is told its maker's specification and two
seconds of log. BUNDLE is a folder; default: simulator/pretrained.
"""

import sys
from pathlib import Path

from fleet_ingest.standins.families import population
from fleet_ingest.standins.recorder import record
from flows.sources import load_folder
from simulator.prompt import Prompt
from simulator.sensitivity import sensitivity
from simulator.situation import Situation
from simulator.what_if import ask

PRETRAINED = Path(__file__).resolve().parents[1] / "simulator" / "pretrained"


def main() -> None:
    sim = load_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else PRETRAINED)
    (robot,) = population(1, 7, ["pendulum"], "test")
    clip, log = record(robot, 2, 4.0, seed=7)
    scene = sim.ground(Prompt(robot.spec, (clip.window(0, round(2.0 * robot.rate_hz)),)))
    print(f"{robot.serial}: {', '.join(c.name for c in robot.spec.channels)}")
    logged = Situation.of_episode(log, scene.frame.history_rows, scene.frame.history_rows, horizon_s=0.5)
    angle = robot.spec.state_layout.columns[0]
    answer = ask(scene, {"payload.mass": [0.0, 0.1, 0.3]}, f"final({angle})", logged, worlds=100)
    print("\n".join(answer.sentences()))
    print("\n".join(sensitivity(scene, f"final({angle})", logged, worlds=50).sentences()))


if __name__ == "__main__":
    main()
