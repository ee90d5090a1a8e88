"""Makes logs of two driven pendulums for the examples, as CSV files such as somebody's logger would write them.

The engine never sees the equation below: it stands for a robot. The two differ in damping, which no log says.
"""

import csv
import math
import random
from pathlib import Path

MAPPING = """\
name: pendulum
files: "**/*.csv"
path: "{robot}/{run}.csv"
robot: "{robot}"
time: {column: t_ms, unit: ms}
rate_hz: 50
channels:
  - {column: angle_deg, name: pole.angle, kind: angle, unit: deg, entity: pole}
  - {column: rate_deg_s, name: pole.rate, kind: linear, unit: deg/s, entity: pole, derivative_of: pole.angle}
  - {column: torque_Nm, name: pole.torque, kind: effort, role: command, unit: N*m, entity: pole, limits: [-3, 3]}
entities:
  - {name: pole, type: joint, joint_type: revolute, length_m: 0.5, mass_kg: 1.0}
"""


def write_logs(folder: Path, runs: int = 8, seconds: float = 6.0) -> Path:
    """Writes `folder`/ROBOT/RUN.csv and `folder`/map.yaml; returns the path of the mapping."""
    rng = random.Random(0)
    for robot, damping in (("pendulum-a", 0.05), ("pendulum-b", 0.4)):
        (folder / robot).mkdir(parents=True, exist_ok=True)
        for run in range(runs):
            with (folder / robot / f"run{run}.csv").open("w", newline="") as file:
                csv.writer(file).writerows(
                    [["t_ms", "angle_deg", "rate_deg_s", "torque_Nm"], *_rows(damping, seconds, rng)]
                )
    mapping = folder / "map.yaml"
    mapping.write_text(MAPPING)
    return mapping


def _rows(damping: float, seconds: float, rng: random.Random) -> list[list[float]]:
    angle, rate, torque, rows = rng.uniform(-2, 2), rng.uniform(-1, 1), 0.0, []
    for k in range(int(seconds * 50)):
        if k % 10 == 0:
            torque = rng.uniform(-3, 3)
        noisy = [math.degrees(angle + rng.gauss(0, 0.002)), math.degrees(rate + rng.gauss(0, 0.01))]
        rows.append([k * 20 + rng.uniform(-1, 1), *noisy, torque])
        for _ in range(20):
            rate += 0.001 * (-9.81 / 0.5 * math.sin(angle) - damping * rate + torque / 0.25)
            angle += 0.001 * rate
    return rows
