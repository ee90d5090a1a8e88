"""Grounds the simulator in one robot and asks what would happen under two torques. Run: python -m
examples.ask_simulator
"""

import numpy as np
import torch

from examples.train_and_score import trained
from simulator.history import History
from simulator.prompt import Prompt


def main() -> None:
    sim, known, held_out = trained()
    clip, log = known[0], held_out[0]
    scene = sim.ground(Prompt(log.spec, (clip,)))
    rows = scene.frame.history_rows
    history = History.of(log, np.array([rows]), rows)
    for torque in (-2.0, 2.0):
        worlds = scene.sample(300, seed=1)  # the same seed: the same robots, the same noise, another torque
        state = worlds.reset(history)
        command = torch.full((worlds.n, 1), torque)
        with torch.no_grad():
            for _ in range(15):
                state, _, _ = worlds.step(state, command)
            angle = worlds.observe(state)[:, 0].numpy()
        low, middle, high = np.quantile(np.degrees(np.unwrap(angle)), [0.05, 0.5, 0.95])
        print(
            f"torque {torque:+.0f} N m for 0.3 s: pole at {middle:.0f} degrees, 90 % interval {low:.0f} to {high:.0f}"
        )


if __name__ == "__main__":
    main()
