"""Open-loop accuracy on real robots, against models that people made: the statistic of `real.statistic`.

Double pendulum: trained on `sys_id`, `A.0` and `C.0`, tested on both disturbed folders of C.1, against the better of
the builders' white box and one identified anew on the training runs of C.1. Qube and cart-pole: trained on the chirps,
tested on the swing-ups, against hold-last. Every model gets the same 0.2 s of history. Simulators are trained by
`python -m tests.benchmarks.sim.real` (found under --work, else trained here, which takes longer than the benchmark),
twice: from real logs only, and, apart, from what drawn stand-ins taught (`--pretrained`).
"""

import argparse
import json
import sys

import numpy as np

from simulator.prompt import Prompt
from storage.contracts.episode import Episode
from storage.contracts.errors import InputError
from tests.benchmarks.envelope import Figure, Target
from tests.benchmarks.real import baselines, statistic
from tests.benchmarks.real.forecast import HORIZONS_S, Forecast, forecasts
from tests.benchmarks.sim.bundle import options, report
from tests.benchmarks.sim.real import DATA, LABELS, Label, bundle, folder_of, is_test, runs, usual_updates

FOLDERS = ("acrobot_ilqr_tvlqr_lqr_disturbed", "pendubot_ilqr_tvlqr_lqr_disturbed")
LIMITS = {0.1: 0.9, 0.5: 0.7, 1.0: 0.7}


def main() -> None:
    made = options(__doc__ or "")
    made.add_argument("--updates", type=int, help="updates of the trainings under --work, where not the usual")
    arguments = made.parse_args()
    if not DATA.exists():
        sys.exit(f"skipped: the logs are not at {DATA}; the mappings say where the public originals are")
    test = {n: es for n, es in runs("double_pendulum").items() if is_test("double_pendulum", n)}
    boxes = baselines.white_boxes(DATA / "double_pendulum", list(test))
    figures: dict[str, Figure] = {}
    targets: dict[str, Target] = {}
    for label in LABELS:
        figures |= _double_pendulum(arguments, label, test, boxes)
        for robot in ("qube", "cartpole"):
            try:
                figures |= _against_hold_last(arguments, robot, label)
            except InputError as error:
                sys.stderr.write(f"left out: {label}: {error}\n")
        targets |= {f"{label}: error over the best white box at {h} s": Target(x, "lower") for h, x in LIMITS.items()}
        targets |= {f"{label}: upper limit of that ratio at {h} s": Target(1.0, "lower") for h in (0.5, 1.0)}
        targets |= {f"{label}: energy score over the best baseline at {h} s": Target(0.8, "lower") for h in HORIZONS_S}
    report("sim_accuracy_real", figures, targets, [arguments.seed], arguments)


def _simulated(
    arguments: argparse.Namespace, robot: str, label: Label, test: dict[str, list[Episode]]
) -> tuple[dict[str, list[Forecast]], dict[str, Figure]]:
    updates = 60 if arguments.quick else arguments.updates or usual_updates(label)
    simulator = bundle(robot, arguments.work, label, updates=updates)
    first = next(iter(test.values()))[0]
    own = [e for n, es in runs(robot).items() if not is_test(robot, n) for e in es if e.robot == first.robot]
    scene = simulator.ground(Prompt(first.spec, tuple(own)))
    samples = 10 if arguments.quick else 60
    found = {name: forecasts(scene, episodes, samples, arguments.seed) for name, episodes in test.items()}
    cost = json.loads((folder_of(robot, arguments.work, updates, label) / "training.json").read_text())
    return found, {f"{label}: training of {robot}": Figure(cost["cpu_s"], "CPU s", 1)}


def _double_pendulum(
    arguments: argparse.Namespace,
    label: Label,
    test: dict[str, list[Episode]],
    boxes: dict[str, dict[str, baselines.Baseline]],
) -> dict[str, Figure]:
    robot = "double_pendulum"
    found, figures = _simulated(arguments, robot, label, test)
    hold = baselines.hold_last(DATA / robot, list(test))
    for h in HORIZONS_S:
        error = {n: np.concatenate([f.errors[h] for f in found[n]]) for n in test}
        # The better of the two white boxes over all test runs is the reference.
        medians = {kind: np.mean([np.log(np.median(box[n].errors[h])) for n in test]) for kind, box in boxes.items()}
        best = boxes[min(medians, key=lambda kind: medians[kind])]
        for part in ("", *FOLDERS):
            names = [n for n in test if part in n]
            ratio, interval = statistic.paired_ratio([error[n] for n in names], [best[n].errors[h] for n in names])
            where = f" on {part.split('_')[0]} runs" if part else ""
            count = sum(len(error[n]) for n in names)
            name = f"{label}: error over the best white box at {h} s{where}"
            figures[name] = Figure(ratio, "ratio", len(names), interval)
            figures[f"{label}: median error at {h} s{where}"] = Figure(_median(error, names), "rad", count)
            if not part:
                figures[f"{label}: upper limit of that ratio at {h} s"] = Figure(interval[1], "ratio", len(names))
            for kind, box in {**boxes, "hold-last": hold}.items():
                errors = {n: box[n].errors[h] for n in names}
                figures[f"{kind}: median error at {h} s{where}"] = Figure(_median(errors, names), "rad", count)
        own = np.mean([np.concatenate([f.scores[h] for f in found[n]]).mean() for n in test])
        others = [np.mean([box[n].scores[h].mean() for n in test]) for box in (best, hold)]
        figures[f"{label}: energy score over the best baseline at {h} s"] = Figure(
            float(own / min(others)), "ratio", len(test)
        )
    return figures


def _median(errors: dict[str, np.ndarray], names: list[str]) -> float:
    return float(np.median(np.concatenate([errors[n] for n in names])))


def _against_hold_last(arguments: argparse.Namespace, robot: str, label: Label) -> dict[str, Figure]:
    test = {n: es for n, es in runs(robot).items() if is_test(robot, n) and es}
    if not test:
        return {}
    found, figures = _simulated(arguments, robot, label, test)
    for h in HORIZONS_S:
        errors = [np.concatenate([f.errors[h] for f in found[n]]) for n in test]
        holds = [np.concatenate([f.hold_errors[h] for f in found[n]]) for n in test]
        ratio, interval = statistic.paired_ratio(errors, holds)
        figures[f"{label}: {robot}, error over hold-last at {h} s"] = Figure(ratio, "ratio", len(test), interval)
    return figures


if __name__ == "__main__":
    main()
