"""Trains a simulator on logs of two robots and scores it on held-out ones. Run: python -m examples.train_and_score"""

import tempfile
from pathlib import Path

from examples.import_log import load_episodes
from examples.pendulum import write_logs
from simulator.config import SimulatorConfig
from simulator.prompt import Prompt
from simulator.simulator import Simulator
from simulator.train import train_simulator
from storage.contracts.episode import Episode

CONFIG = SimulatorConfig(updates=200, members=3)


def trained() -> tuple[Simulator, list[Episode], list[Episode]]:
    """A simulator, the episodes it learned from, and the held-out ones: the last two runs of each robot."""
    with tempfile.TemporaryDirectory() as name:
        episodes = load_episodes(Path(name), write_logs(Path(name)))
    held_out = episodes[6:8] + episodes[14:16]
    known = [e for e in episodes if e not in held_out]
    return train_simulator(known, CONFIG), known, held_out


def main() -> None:
    sim, known, held_out = trained()
    clips = {robot: next(e for e in known if e.robot == robot) for robot in ("pendulum-a", "pendulum-b")}
    prompts = {robot: Prompt(clip.spec, (clip,)) for robot, clip in clips.items()}
    card = sim.score(held_out, horizons_s=(0.1, 0.5, 1.0), prompts=prompts)
    for horizon in (0.1, 0.5, 1.0):
        error, floor = card.value("nrmse", horizon), card.value("hold_last_nrmse", horizon)
        print(f"{horizon} s ahead: error {error:.3f}, hold-last {floor:.3f} (standard deviations)")


if __name__ == "__main__":
    main()
