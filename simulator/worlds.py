"""N worlds of one scene, stepped together: state in, state out. No Python per world.

World i is member i mod M of the ensemble with its own scene sample; what it does depends on (seed, i, step) and its
inputs, not on N. Rewards of tasks are the caller's; `StepOutcome.reward` is a logged reward that the simulator
learned to predict.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from simulator import dynamics, layout, network, noise, period, task_head
from simulator.compiled import compiled as made_fast
from simulator.frame import Frame
from simulator.history import History
from simulator.model import Model
from simulator.network import Conditioning
from simulator.period import Draws, Now, Places, Rules
from simulator.state import Events, StepOutcome, WorldState
from storage.contracts.errors import ContractError, InputError
from storage.contracts.robot import RobotSpec

_START, _PROCESS, _SENSOR, _CHANCE, _RESET, _END = 1, 2, 3, 4, 5, 6


class Worlds:
    """Made by `Scene.sample`. `z` [N, Z] is fixed for its life; states are made by `reset` and belong to these
    worlds. With `compiled`, steps are a few fused kernels (see `simulator.compiled`)."""

    def __init__(
        self, model: Model, spec: RobotSpec, frame: Frame, z: Tensor, seed: int, *, compiled: bool = False
    ) -> None:
        self.model, self.spec, self.frame, self.seed = model, spec, frame, seed
        self.n = int(z.shape[0])
        self.z = z
        self.device = z.device
        self._compiled = compiled
        self._advance = made_fast(period.advance) if compiled else period.advance
        self._sense = made_fast(period.sensed) if compiled else period.sensed
        self._weights = {name: w.detach() for name, w in model.weights(str(z.device)).items()}
        self._world = torch.arange(self.n, device=self.device)
        self._places = Places.of(frame.structure, self.device)
        self._rules = _rules(model, self.device)
        self._no_extra = torch.zeros(self.n, spec.exogenous_layout.width, device=self.device)
        self._scene: tuple[Tensor, Conditioning, Tensor | None, Tensor] | None = None
        self._clock = noise.Clock()
        shape, entities = frame.structure.shape, frame.structure.entities
        self._process = self._stream(noise.normal, _PROCESS, entities * shape.slots)
        self._sensed = self._stream(noise.normal, _SENSOR, entities * shape.slots)
        self._draws = self._stream(noise.uniform, _CHANCE, entities * (shape.categories + 1))
        self._ends = self._stream(noise.uniform, _END, 1)

    def reset(
        self,
        history: History | None = None,
        task_start: Mapping[str, tuple[float, float]] | None = None,
        seed: int | None = None,
    ) -> WorldState:
        """First states: after `history`; or drawn uniformly from the ranges of `task_start` (channels without one
        start at 0); or, with neither, from the starts of the training episodes. `seed` (default: that of the
        worlds) draws the starts and names the noise of the rollout."""
        seed = self.seed if seed is None else seed
        if history is None:
            drawn = self._drawn_starts(task_start, seed)
            history = History(drawn[:, None], drawn.new_zeros(self.n, 0, self.spec.command_layout.width))
        history.check(self.spec, self.n)
        # The episode seed enters the noise through the counter, so that one Worlds gives many different rollouts.
        offset = (seed - self.seed) * 1_000_003 * 4096 % (1 << 62)
        counter = torch.full((self.n,), offset, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            return self._first(history, counter)

    def step(
        self, state: WorldState, command: Tensor, dt_s: float | None = None, exogenous: Tensor | None = None
    ) -> tuple[WorldState, StepOutcome, Events]:
        """Applies `command` [N, C], or a block [N, B, C] row after row, each for `dt_s` seconds (default: the
        control period).

        Physical units; clamped to the limits of the channels as robots do. Differentiable in `command` and `state`.
        `exogenous` [N, X] or [N, B, X], known inputs, default 0. With a block, reward is the sum, events are those
        of any row.
        """
        block = command[:, None] if command.dim() == 2 else command
        extra = exogenous[:, None] if exogenous is not None and exogenous.dim() == 2 else exogenous
        if block.dim() != 3 or block.shape[0] != self.n or block.shape[2] != self.spec.command_layout.width:
            wanted = f"[{self.n}, {self.spec.command_layout.width}]"
            raise ContractError(f"command has shape {tuple(command.shape)}; expected {wanted} or a block [N, B, C]")
        dt = self.frame.dt if dt_s is None else float(dt_s)
        if not 0 < dt <= 16 * self.frame.dt:
            raise InputError(f"dt_s={dt} should be above 0 and at most 16 control periods ({16 * self.frame.dt} s)")
        state, outcome, events = self._one(state, block[:, 0], None if extra is None else extra[:, 0], dt)
        for b in range(1, block.shape[1]):
            state, more, further = self._one(state, block[:, b], None if extra is None else extra[:, b], dt)
            both = None if outcome.reward is None or more.reward is None else outcome.reward + more.reward
            survived = None
            if outcome.hazard is not None and more.hazard is not None:
                survived = 1.0 - (1.0 - outcome.hazard) * (1.0 - more.hazard)
            outcome = StepOutcome(both, outcome.terminated | more.terminated, survived)
            events = Events(
                events.categories | further.categories, events.died | further.died, events.appeared | further.appeared
            )
        return state, outcome, events

    def observe(self, state: WorldState, modality: str = "channels", *, noisy: bool = True) -> Tensor:
        """What the robot's sensors would log, [N, S] in physical units; with `noisy=False` without the sensors' own
        noise.

        The noise depends on (seed, world, step) only: observing twice gives the same numbers.
        """
        if modality != "channels":
            raise InputError(f"modality '{modality}' is reserved; this simulator observes 'channels' only")
        if not noisy:
            return period.observe(self.frame, self._places, state.channels, state.categories, None)
        deviation, normal = self._conditions(state.z)[2], self._sensed.at(state.world, state.counter)
        return self._sense(self.frame, self._places, state.channels, state.categories, deviation, normal)

    def limits_active(self, state: WorldState) -> Tensor:
        """bool [N]: worlds in a state so far outside the scales of the scene that the model draws it back."""
        far = (self.frame.offset[:, 0] + state.channels * self.frame.inverse[:, 0]).abs() > dynamics.FAR
        return (far & self.frame.present[:, 0] & ~self.frame.angle[:, 0]).flatten(1).any(1)

    def clone(self, state: WorldState) -> WorldState:
        return state.clone()

    def write(self, state: WorldState, observation: Tensor) -> WorldState:
        """The state with its channels set to `observation` [N, S]: memory and commands under way are kept."""
        x, labels = period.columns_split(self.frame.structure, self._places, observation[:, None])
        return state.set("channels", x[:, 0]).set("categories", labels[:, 0])

    def _one(
        self, state: WorldState, command: Tensor, extra: Tensor | None, dt: float
    ) -> tuple[WorldState, StepOutcome, Events]:
        conditioning, task_bias, _ = self._conditions(state.z)
        channels, memory, queue = self._followed(state, command)
        extra = self._no_extra if extra is None else extra
        now = Now(channels, state.categories, state.alive, memory, queue, command, extra)
        seconds = torch.full((1, 1, 1, 1), dt, device=self.device)
        parts = max(1, round(self.frame.substeps * dt / self.frame.dt))
        then = self._advance(
            self._weights, self.frame, self._places, self._rules, conditioning, task_bias, now, self._drawn(state),
            seconds, parts,
        )  # fmt: skip
        counter = self._clock.next(state.counter)
        following = WorldState(
            then.channels, then.categories, then.alive, then.memory, then.queue,
            state.z, state.member, state.time_s + dt, state.world, counter,
        )  # fmt: skip
        outcome = StepOutcome(then.reward, then.terminated, then.hazard)
        return following, outcome, Events(then.changed, then.died, then.appeared)

    def _followed(self, state: WorldState, command: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Channels, memory and queue. Where gradients are asked for, they are for the first step of a rollout, too: it
        is then like all others, and nothing more is compiled for it."""
        parts = (state.channels, state.memory, state.queue)
        if not self._compiled or not command.requires_grad or not torch.is_grad_enabled():
            return parts
        first, second, third = (p if p.requires_grad else p.detach().requires_grad_() for p in parts)
        return first, second, third

    def _drawn(self, state: WorldState) -> Draws:
        """The numbers of chance of one period."""
        traits, world, counter = self.model.traits, state.world, state.counter
        process = self._process.at(world, counter).view_as(state.channels) * self.model.temperature.process
        luck = self.frame.structure.shape.categories or traits.mortal
        return Draws(
            process,
            self._draws.at(world, counter) if luck else None,
            self._ends.at(world, counter)[:, 0] if traits.terminates else None,
        )

    def _first(self, history: History, counter: Tensor) -> WorldState:
        structure, frame, members = self.frame.structure, self.frame, self.model.members
        shape, rows = structure.shape, frame.history_rows
        state = history.state.to(self.device).float().expand(self.n, -1, -1)[:, -rows - 1 :]
        commands = history.command.to(self.device).float().expand(self.n, -1, -1)[:, -rows:]
        missing = rows - commands.shape[1]
        x, labels = period.columns_split(
            structure, self._places, torch.cat([state[:, :1].expand(-1, missing, -1), state], 1)
        )
        safe = torch.from_numpy(self.spec.safe).float().to(self.device).expand(self.n, missing, -1)
        inputs = period.scaled_inputs(
            frame, self._places, torch.cat([safe, commands], 1), self._past_extra(history, rows)
        )
        known = (torch.arange(rows, device=self.device) >= missing).float()
        normal = noise.normal(self.seed, _START, self._world, counter, structure.entities * shape.slots)
        normal = (normal * self.model.temperature.process).view(self.n, structure.entities, shape.slots)
        first, memory = dynamics.start(
            self._weights, frame, self._conditions(self.z)[0], layout.internal_rows(x, members),
            layout.internal_rows(inputs, members), known.expand(1, 1, 1, rows), layout.internal(normal, members),
        )  # fmt: skip
        alive = torch.ones(self.n, structure.entities, dtype=torch.bool, device=self.device)
        if history.alive is not None:
            alive = history.alive.to(self.device).expand(self.n, -1).clone()
        return WorldState(
            layout.external(first, self.n), labels[:, -1], alive, layout.external(memory, self.n),
            inputs[:, rows - shape.taps :], self.z, self._world % members,
            torch.zeros(self.n, dtype=torch.float64, device=self.device), self._world, counter,
        )  # fmt: skip

    def _past_extra(self, history: History, rows: int) -> Tensor:
        """[N, rows, X] known inputs before now, 0 where the history does not reach."""
        found = torch.zeros(self.n, rows, self.spec.exogenous_layout.width, device=self.device)
        if history.exogenous is None:
            return found
        given = history.exogenous.to(self.device).float().expand(self.n, -1, -1)[:, -rows:]
        return torch.cat([found[:, : rows - given.shape[1]], given], 1)

    def _drawn_starts(self, ranges: Mapping[str, tuple[float, float]] | None, seed: int) -> Tensor:
        width = self.spec.state_layout.width
        uniform = noise.uniform(seed, _RESET, self._world, torch.zeros_like(self._world), width + 1)
        if ranges is None:
            stored = self.model.starts.get(self.frame.structure.key, np.zeros((1, width), dtype=np.float32))
            index = (uniform[:, -1] * len(stored)).long().clamp(max=len(stored) - 1)
            return torch.from_numpy(stored).to(self.device)[index]
        low, high = torch.zeros(width, device=self.device), torch.zeros(width, device=self.device)
        for name, (a, b) in ranges.items():
            low[self.spec.state_layout[name]] = a
            high[self.spec.state_layout[name]] = b
        return low + (high - low) * uniform[:, :width]

    def _conditions(self, z: Tensor) -> tuple[Conditioning, Tensor | None, Tensor]:
        """What a scene sample does to the networks, and the deviation of the sensors' noise [N, E, K]: computed once
        per scene sample, also where states were copied on the way."""
        if self._scene is not None and self._scene[0] is not z and torch.equal(self._scene[0], z):
            self._scene = (z, *self._scene[1:])  # known by its object from here on: comparing numbers waits for a GPU
        if self._scene is None or self._scene[0] is not z:
            frame, static = self.frame, self.frame.static[None, :, None]
            with torch.no_grad():
                internal = layout.internal(z.view(self.n, frame.structure.entities, -1), self.model.members)
                found = network.condition(self._weights, static, internal, frame.adjacency, frame.ties)
                tasks = self.model.traits.rewarded or self.model.traits.terminates
                task_bias = task_head.condition(self._weights, static, internal) if tasks else None
                deviation = dynamics.spread(found.sensor, dynamics.SENSOR) * frame.step_scale * frame.present
            self._scene = (z, found, task_bias, layout.external(deviation, self.n))
        return self._scene[1:]

    def _stream(self, draw: Callable[[int, int, Tensor, Tensor, int], Tensor], stream: int, count: int) -> noise.Stream:
        return noise.Stream(draw, self.seed, stream, count, self._clock)


def _rules(model: Model, device: torch.device) -> Rules:
    traits = model.traits
    reward = (traits.reward_center, traits.reward_scale, traits.reward_low, traits.reward_high)
    return Rules(traits.mortal, traits.appears, traits.rewarded, torch.tensor(reward, device=device))
