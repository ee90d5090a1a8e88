"""Trains a policy inside the learned simulator and exports it for robots. Run: python -m examples.train_policy"""

import numpy as np
import torch

from examples.train_and_score import trained
from policy.config import PolicyConfig
from policy.export import export_onnx
from policy.runtime.runner import PolicyRunner
from policy.simulated import ground_all
from policy.train import train_policy
from storage.contracts.task import Task

TASK = Task(
    name="hold-still",
    reward="exp(-square(wrap(pole.angle) / 0.5)) * (1 - 0.1 * square(pole.torque / 3))",
    horizon_s=3.0,
    start={"pole.angle": (-1.5, 1.5)},
)


def main() -> None:
    sim, known, _ = trained()
    spec = known[0].spec
    scenes = ground_all(sim, spec, [[known[0]], [known[-1]]])  # one robot each, as their logs show them
    policy = train_policy(scenes, TASK, PolicyConfig(updates=40, worlds=24, evaluate_every=20))
    print(f"simulated return {policy.simulated.mean:.0f} of at most {TASK.horizon_steps(spec)}")

    manifest, onnx = export_onnx(policy.network, spec, TASK)
    runner = PolicyRunner(manifest, onnx)  # what a robot runs: ONNX Runtime, no torch
    state = np.array([0.4, 0.0])
    runner.reset(state)
    history = torch.tensor(state, dtype=torch.float32).expand(1, manifest.history_steps, 2)
    with torch.no_grad():
        expected = policy.network(history, torch.zeros(1, manifest.history_steps, 1))[0].numpy()
    print(f"commands agree: robot {runner.act(state)[0]:+.4f} N m, trainer {expected[0]:+.4f} N m")


if __name__ == "__main__":
    main()
