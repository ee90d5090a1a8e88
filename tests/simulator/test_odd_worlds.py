"""Worlds without joints pass through train, ground, step and score: nothing in the simulator may assume a robot arm."""

from collections.abc import Callable

import numpy as np
import torch

from simulator.config import SimulatorConfig, Stage
from simulator.history import History
from simulator.prompt import Prompt
from simulator.train import train_simulator
from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.episode import Episode
from storage.contracts.figures import Scorecard
from storage.contracts.robot import Entity, RobotSpec

Make = Callable[..., Episode]
NODES = 12


def better_than_hold_last(card: Scorecard, horizon_s: float, factor: float, channel: str | None = None) -> bool:
    error, hold = (card.value(name, horizon_s, channel=channel) for name in ("nrmse", "hold_last_nrmse"))
    assert error is not None
    assert hold is not None
    return hold > factor * error


def rope_spec() -> RobotSpec:
    channels: list[Channel] = []
    for i in range(NODES):
        name = f"node{i}"
        channels.append(Channel(name=f"{name}.height", kind=Kind.LINEAR, unit="m", entity=name))
        channels.append(
            Channel(name=f"{name}.speed", kind=Kind.LINEAR, unit="m/s", entity=name, derivative_of=f"{name}.height")
        )
    channels.append(Channel(name="hand", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", entity="node0", limits=(-3, 3)))
    rows = [Entity(name=f"node{i}", type="particle", parent=f"node{i - 1}" if i else None) for i in range(NODES)]
    return RobotSpec(name="rope", control_rate_hz=50, channels=tuple(channels), entities=tuple(rows))


def shake(seed: int, make: Make, cut: bool) -> Episode:
    """A string of masses; halfway node 6 is cut away: its sensors fall silent and its neighbours no longer feel it."""
    rng = np.random.default_rng(seed)
    steps, gone = 120, 60
    y, v = 0.2 * rng.standard_normal(NODES), np.zeros(NODES)
    alive = np.ones((steps + 1, NODES), dtype=bool)
    alive[gone:, 6] = not cut
    command = np.repeat(rng.uniform(-3, 3, (steps // 6, 1)), 6, axis=0)
    rows = []
    for t in range(steps + 1):
        rows.append(np.stack([y, v], axis=1).ravel())
        link = (alive[t, 1:] & alive[t, :-1]).astype(float)
        for _ in range(10 if t < steps else 0):
            pull = 30 * np.diff(y) * link
            force = -4 * y - 0.5 * v
            force[:-1] += pull
            force[1:] -= pull
            force[0] += command[t, 0]
            v = v + force * 0.002
            y = y + v * 0.002
    state = np.array(rows)
    valid = np.repeat(alive, 2, axis=1)
    state[~valid] = np.nan
    return make(rope_spec(), state, command, alive=alive)


def test_a_rope_whose_node_is_cut_away_midway(episode_of: Make, small: SimulatorConfig) -> None:
    episodes = [shake(s, episode_of, cut=s % 2 == 0) for s in range(8)]
    config = small.model_copy(update={"updates": 150, "curriculum": (Stage(steps=8, share=1.0),), "min_batch": 8})
    sim = train_simulator(episodes, config)
    assert sim.model.traits.mortal
    held_out = [shake(50, episode_of, cut=True), shake(51, episode_of, cut=False)]
    assert better_than_hold_last(sim.score(held_out, (0.2,)), 0.2, 1.5)
    worlds = sim.ground(Prompt(rope_spec())).sample(64, 0)
    past = worlds.frame.history_rows
    state = worlds.reset(History.of(held_out[0], np.array([80]), past))
    assert state.alive.sum(1).tolist() == [NODES - 1] * 64
    lost = 0
    with torch.no_grad():
        before = state.channels[:, 6].clone()
        for _ in range(20):
            state, _, events = worlds.step(state, torch.zeros(64, 1))
            lost += int(events.died.sum())
    assert state.channels.isfinite().all()
    assert not state.alive[:, 6].any()
    assert torch.equal(state.channels[:, 6], before)
    # 4 deaths in 8 x 12 nodes x 120 steps: about 1 in 2,900 a step; 64 x 11 x 20 node steps expect about 5
    assert lost < 60


def lamp_spec() -> RobotSpec:
    return RobotSpec(
        name="lamp", control_rate_hz=20,
        channels=(
            Channel(name="lamp.state", kind=Kind.CATEGORY, entity="lamp", labels=("off", "on")),
            Channel(name="lamp.click", kind=Kind.EVENT, entity="switch"),
            Channel(name="lamp.brightness", kind=Kind.SCALAR, entity="lamp"),
            Channel(name="switch.press", kind=Kind.EVENT, role=Role.COMMAND, entity="switch"),
        ),
    )  # fmt: skip


def switch(seed: int, make: Make) -> Episode:
    """A press toggles the lamp and clicks; the brightness follows within 0.2 s."""
    rng = np.random.default_rng(seed)
    steps = 200
    press = (rng.random((steps, 1)) < 0.1).astype(float)
    on, click, light, rows = float(rng.integers(2)), 0.0, 0.0, []
    light = on
    for t in range(steps + 1):
        rows.append([on, click, light])
        if t < steps:
            on = 1 - on if press[t, 0] else on
            click = press[t, 0]
            light += 0.25 * (on - light)
    return make(lamp_spec(), np.array(rows), press)


def test_a_lamp_with_a_switch(episode_of: Make, small: SimulatorConfig) -> None:
    config = small.model_copy(
        update={"updates": 250, "learning_rate": 6e-3, "curriculum": (Stage(steps=4, share=1.0),)}
    )
    sim = train_simulator([switch(s, episode_of) for s in range(8)], config)
    worlds = sim.ground(Prompt(lamp_spec())).sample(128, 0)
    state = worlds.reset(History(torch.tensor([[[0.0, 0.0, 0.0]] * 5]), torch.zeros(1, 4, 1)))
    with torch.no_grad():
        state, _, quiet = worlds.step(state, torch.zeros(128, 1))
        state, _, toggled = worlds.step(state, torch.ones(128, 1))
        seen = worlds.observe(state)
        for _ in range(8):
            state, _, _ = worlds.step(state, torch.zeros(128, 1))
    assert quiet.categories.float().mean() < 0.05
    assert seen[:, 0].mean() > 0.9  # on
    assert seen[:, 1].mean() > 0.9  # clicked
    assert set(seen[:, :2].unique().tolist()) <= {0.0, 1.0}
    later = worlds.observe(state)
    assert later[:, 2].median() > 0.7
    assert sim.score([switch(60, episode_of)], (0.25,)).value("nrmse", 0.25) is not None
    assert toggled.categories.any()


def oven_spec() -> RobotSpec:
    return RobotSpec(
        name="oven", control_rate_hz=20,
        channels=(
            Channel(name="oven.heat", kind=Kind.SCALAR, unit="K", entity="oven"),
            Channel(name="oven.start", kind=Kind.EVENT, role=Role.COMMAND, entity="oven"),
        ),
        entities=(Entity(name="oven", type="appliance"),),
    )  # fmt: skip


def bake(seed: int, make: Make) -> Episode:
    """A start runs a timer of 0.8 s that no sensor shows; while it runs the oven heats at 5 K/s, else it stays."""
    rng = np.random.default_rng(seed)
    steps, heat, left, rows = 160, 0.0, 0, []
    start = (rng.random((steps, 1)) < 0.03).astype(float)
    for t in range(steps + 1):
        rows.append([heat])
        if t < steps:
            left = 16 if start[t, 0] else max(0, left - 1)
            heat += 0.25 if left > 0 else -0.04 * heat
    return make(oven_spec(), np.array(rows), start)


def test_an_appliance_with_a_timer_that_no_sensor_shows(episode_of: Make, small: SimulatorConfig) -> None:
    stages = (Stage(steps=24, share=0.5), Stage(steps=40, share=0.5))
    config = small.model_copy(update={"updates": 450, "memory": 8, "history_s": 0.4, "curriculum": stages})
    sim = train_simulator([bake(s, episode_of) for s in range(12)], config)
    worlds = sim.ground(Prompt(oven_spec())).sample(64, 0)
    state = worlds.reset(History(torch.zeros(1, 9, 1), torch.zeros(1, 8, 1)))
    heats = []
    with torch.no_grad():
        for t in range(32):
            state, _, _ = worlds.step(state, torch.full((64, 1), 1.0 if t == 0 else 0.0))
            heats.append(float(worlds.observe(state, noisy=False)[:, 0].mean()))
    # heats by 0.25 K a step while the timer runs, then cools: the memory has to count
    assert heats[11] > 1.5
    assert max(heats) < 6.5
    assert heats[31] < max(heats) - 0.4
    assert better_than_hold_last(sim.score([bake(s, episode_of) for s in (70, 71)], (0.5,)), 0.5, 1.5)


def test_an_entity_without_channels_and_one_with_nine(episode_of: Make, small: SimulatorConfig) -> None:
    """A Gymnasium-like observation without names beside a wall that has no channels at all."""
    names = [f"obs{i}" for i in range(9)]
    channels = [Channel(name=n, kind=Kind.SCALAR, entity="robot") for n in names]
    channels.append(Channel(name="act", kind=Kind.EFFORT, role=Role.COMMAND, entity="robot", limits=(-1, 1)))
    spec = RobotSpec(
        name="gym", control_rate_hz=20, channels=tuple(channels), entities=(Entity(name="wall", type="body"),)
    )

    def walk(seed: int) -> Episode:
        rng = np.random.default_rng(seed)
        command = rng.uniform(-1, 1, (80, 1))
        x, rows = rng.standard_normal(9), []
        mix = 0.9 * np.roll(np.eye(9), 1, axis=0)
        for t in range(81):
            rows.append(x)
            x = mix @ x + 0.5 * command[min(t, 79)]
        return episode_of(spec, np.array(rows), command)

    config = small.model_copy(update={"updates": 120, "curriculum": (Stage(steps=4, share=1.0),)})
    sim = train_simulator([walk(s) for s in range(6)], config)
    assert better_than_hold_last(sim.score([walk(90)], (0.1,)), 0.1, 2.0)


def test_a_logged_reward_and_termination_are_learned(episode_of: Make, small: SimulatorConfig) -> None:
    """A drifting mass ends its episode beyond 1 m; its reward is minus the distance."""
    channels = (
        Channel(name="x", kind=Kind.LINEAR, unit="m"),
        Channel(name="push", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", limits=(-1, 1)),
    )
    spec = RobotSpec(name="drift", control_rate_hz=20, channels=channels)

    def drift(seed: int) -> Episode:
        rng = np.random.default_rng(seed)
        x, rows, command, reward = rng.uniform(-0.5, 0.5), [], [], []
        rows.append([x])
        push = rng.choice([-1.0, 1.0])
        while abs(x) < 1 and len(command) < 60:
            command.append([push])
            x += 0.05 * push
            rows.append([x])
            reward.append(-abs(x))
        return episode_of(spec, np.array(rows), np.array(command), reward=np.array(reward), terminated=abs(x) >= 1)

    config = small.model_copy(
        update={"updates": 250, "curriculum": (Stage(steps=4, share=1.0),), "learning_rate": 6e-3}
    )
    sim = train_simulator([drift(s) for s in range(24)], config)
    worlds = sim.ground(Prompt(spec)).sample(64, 0)
    ended, steps = torch.zeros(64, dtype=torch.bool), torch.zeros(64)
    state = worlds.reset(task_start={"x": (0.0, 0.0)})
    with torch.no_grad():
        for t in range(30):
            state, outcome, _ = worlds.step(state, torch.ones(64, 1))
            if t == 9:
                assert outcome.reward is not None
                assert abs(float(outcome.reward.mean()) + 0.5) < 0.15
            steps += ~ended
            ended |= outcome.terminated
    assert ended.float().mean() > 0.9
    assert 16 < float(steps[ended].median()) < 25  # 20 steps of 5 cm reach 1 m
