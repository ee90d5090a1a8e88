"""N worlds of one scene, stepped together: state in, state out. No Python per world.

World i is member i mod M of the ensemble with its own scene sample; what it does depends on (seed, i, step) and its
inputs, not on N. Rewards of tasks are the caller's; `StepOutcome.reward` is a logged reward that the simulator
learned to predict.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from simulator import dynamics, network, noise, task_head
from simulator.dynamics import Core
from simulator.frame import Frame, wrap_where
from simulator.history import History
from simulator.model import Model
from simulator.network import Conditioning
from simulator.state import Events, StepOutcome, WorldState
from storage.contracts.errors import ContractError, InputError
from storage.contracts.robot import RobotSpec

_START, _PROCESS, _SENSOR, _CHANCE, _RESET, _END = 1, 2, 3, 4, 5, 6


class Worlds:
    """Made by `Scene.sample`. `z` [N, Z] is fixed for its life; states are made by `reset` and belong to these
    worlds."""

    def __init__(self, model: Model, spec: RobotSpec, frame: Frame, z: Tensor, seed: int) -> None:
        self.model, self.spec, self.frame, self.seed = model, spec, frame, seed
        self.n = int(z.shape[0])
        self.z = z
        self.device = z.device
        structure = frame.structure
        self._weights = {name: w.detach() for name, w in model.weights(str(z.device)).items()}
        self._world = torch.arange(self.n, device=self.device)
        self._batch = math.ceil(self.n / model.members)
        self._columns = torch.from_numpy(structure.columns).to(self.device)
        self._slots = torch.from_numpy(structure.column_slot).to(self.device)
        self._category_columns = torch.from_numpy(structure.category_columns).to(self.device)
        self._category_slots = torch.from_numpy(structure.category_slot).to(self.device)
        self._input_slots = torch.from_numpy(structure.input_slot).to(self.device)
        limits = torch.from_numpy(spec.command_limits).float().to(self.device)
        self._low, self._high = limits[:, 0], limits[:, 1]
        self._conditions: tuple[Tensor, Conditioning] | None = None
        self._task_biases: tuple[Tensor, Tensor] | None = None
        self._clock = noise.Clock()
        shape, entities = structure.shape, structure.entities
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
        x = state.channels
        if noisy:
            x = x + self._external(self._sensor()) * self._sensed.at(state.world, state.counter).view_as(x)
        flat = wrap_where(x, self.frame.wrapped).flatten(1)
        columns = flat.new_zeros(self.n, self.spec.state_layout.width)
        columns = columns.index_copy(1, self._columns, flat[:, self._slots])
        if len(self._category_columns):
            labels = state.categories.flatten(1)[:, self._category_slots].to(flat.dtype)
            columns = columns.index_copy(1, self._category_columns, labels)
        return columns

    def limits_active(self, state: WorldState) -> Tensor:
        """bool [N]: worlds in a state so far outside the scales of the scene that the model draws it back."""
        far = (self.frame.offset[:, 0] + state.channels * self.frame.inverse[:, 0]).abs() > dynamics.FAR
        return (far & self.frame.present[:, 0] & ~self.frame.angle[:, 0]).flatten(1).any(1)

    def clone(self, state: WorldState) -> WorldState:
        return state.clone()

    def write(self, state: WorldState, observation: Tensor) -> WorldState:
        """The state with its channels set to `observation` [N, S]: memory and commands under way are kept."""
        x, labels = self._split(observation[:, None])
        return state.set("channels", x[:, 0]).set("categories", labels[:, 0])

    def _one(
        self, state: WorldState, command: Tensor, extra: Tensor | None, dt: float
    ) -> tuple[WorldState, StepOutcome, Events]:
        shape = self.frame.structure.shape
        inputs = self._scaled_inputs(torch.clamp(command, self._low, self._high), extra)
        core = self._core(state)
        core = core._replace(queue=dynamics.push(core.queue, self._internal(inputs)))
        entities = self.frame.structure.entities
        normal = self._process.at(state.world, state.counter)
        normal = self._internal(normal.view(self.n, entities, shape.slots)) * self.model.temperature.process
        period = torch.full((1, 1, 1, 1), dt, device=self.device)
        parts = max(1, round(self.frame.substeps * dt / self.frame.dt))
        moved = dynamics.advance(self._weights, self.frame, core, self._conditioning(state.z), normal, period, parts)
        labels, alive, events = self._chance(state, moved)
        outcome = self._outcome(state, core, moved)
        counter = self._clock.next(state.counter)
        following = WorldState(
            self._external(moved.core.x), labels, alive, self._external(moved.core.memory),
            self._external_queue(moved.core.queue),
            state.z, state.member, state.time_s + dt, state.world, counter,
        )  # fmt: skip
        return following, outcome, events

    def _outcome(self, state: WorldState, core: Core, moved: dynamics.Advance) -> StepOutcome:
        """What the task head makes of the interval; the end is drawn."""
        traits = self.model.traits
        never = torch.zeros(self.n, dtype=torch.bool, device=self.device)
        if not traits.rewarded and not traits.terminates:
            return StepOutcome(None, never)
        bias, inputs = self._task_bias(state.z), core.queue[..., -1, :]
        found = task_head.evaluate(self._weights, bias, self.frame, core.x, moved.core.x, inputs, core.alive)
        scaled, logit = (part.transpose(0, 1).reshape(-1)[: self.n] for part in found)
        reward = None
        if traits.rewarded:
            reward = scaled * traits.reward_scale + traits.reward_center
            reward = task_head.bounded(reward, traits.reward_low, traits.reward_high)
        if not traits.terminates:
            return StepOutcome(reward, never)
        hazard = torch.sigmoid(logit)
        uniform = self._ends.at(state.world, state.counter)[:, 0]
        return StepOutcome(reward, uniform < hazard.detach(), hazard)

    def _chance(self, state: WorldState, moved: dynamics.Advance) -> tuple[Tensor, Tensor, Events]:
        """Samples labels and lives from their logits."""
        traits, shape = self.model.traits, self.frame.structure.shape
        entities = self.frame.structure.entities
        same = torch.zeros_like(state.categories, dtype=torch.bool)
        still = torch.zeros_like(state.alive)
        labels, alive, events = state.categories, state.alive, Events(same, still, still)
        uniform = None
        if shape.categories or traits.mortal:
            uniform = self._draws.at(state.world, state.counter)
        if shape.categories and uniform is not None:
            logits = self._external(moved.labels.flatten(-2)).view(*state.categories.shape, shape.labels)
            cumulative = torch.softmax(logits.detach(), -1).cumsum(-1)
            draw = uniform[:, : entities * shape.categories].view(self.n, entities, shape.categories, 1)
            labels = (draw > cumulative).sum(-1).clamp(max=shape.labels - 1)
            labels = torch.where(state.alive[..., None], labels, state.categories)
            events = Events(labels != state.categories, still, still)
        if traits.mortal and uniform is not None:
            hazard = torch.sigmoid(self._external(moved.life).detach())
            draw = uniform[:, entities * shape.categories :]
            died = state.alive & (draw < hazard[..., 0])
            appeared = ~state.alive & (draw < hazard[..., 1]) & traits.appears
            alive = (state.alive & ~died) | appeared
            events = Events(events.categories, died, appeared)
        return labels, alive, events

    def _first(self, history: History, counter: Tensor) -> WorldState:
        structure, frame = self.frame.structure, self.frame
        shape, rows = structure.shape, frame.history_rows
        state = history.state.to(self.device).float().expand(self.n, -1, -1)[:, -rows - 1 :]
        commands = history.command.to(self.device).float().expand(self.n, -1, -1)[:, -rows:]
        extra = None
        if history.exogenous is not None:
            extra = history.exogenous.to(self.device).float().expand(self.n, -1, -1)[:, -rows:]
        missing = rows - commands.shape[1]
        x, labels = self._split(torch.cat([state[:, :1].expand(-1, missing, -1), state], 1))
        safe = torch.from_numpy(self.spec.safe).float().to(self.device).expand(self.n, missing, -1)
        padded = None if extra is None else torch.cat([extra.new_zeros(self.n, missing, extra.shape[2]), extra], 1)
        inputs = self._scaled_inputs(torch.cat([safe, commands], 1), padded)
        known = (torch.arange(rows, device=self.device) >= missing).float()
        normal = noise.normal(self.seed, _START, self._world, counter, structure.entities * shape.slots)
        normal = normal * self.model.temperature.process
        first, memory = dynamics.start(
            self._weights, frame, self._conditioning(self.z), self._internal_rows(x), self._internal_rows(inputs),
            known.expand(1, 1, 1, rows), self._internal(normal.view(self.n, structure.entities, shape.slots)),
        )  # fmt: skip
        alive = torch.ones(self.n, structure.entities, dtype=torch.bool, device=self.device)
        if history.alive is not None:
            alive = history.alive.to(self.device).expand(self.n, -1).clone()
        return WorldState(
            self._external(first), labels[:, -1], alive, self._external(memory),
            inputs[:, rows - shape.taps :], self.z, self._world % self.model.members,
            torch.zeros(self.n, dtype=torch.float64, device=self.device), self._world, counter,
        )  # fmt: skip

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

    def _split(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Columns [N, H, S] to slots [N, H, E, K] and labels [N, H, E, Q]."""
        structure = self.frame.structure
        shape = structure.shape
        x = columns.new_zeros(*columns.shape[:2], structure.entities * shape.slots)
        x = x.index_copy(2, self._slots, columns[..., self._columns])
        labels = columns.new_zeros(*columns.shape[:2], structure.entities * shape.categories)
        labels = labels.index_copy(2, self._category_slots, columns[..., self._category_columns])
        entities = (*columns.shape[:2], structure.entities)
        return x.view(*entities, shape.slots), labels.round().long().view(*entities, shape.categories)

    def _scaled_inputs(self, command: Tensor, extra: Tensor | None) -> Tensor:
        """[..., C] and [..., X] physical to scaled [..., E, J]."""
        structure = self.frame.structure
        if extra is None:
            extra = command.new_zeros(*command.shape[:-1], self.spec.exogenous_layout.width)
        columns = torch.cat([command, extra], dim=-1)
        flat = columns.new_zeros(*columns.shape[:-1], structure.entities * structure.shape.inputs)
        flat = flat.index_copy(-1, self._input_slots, columns)
        physical = flat.view(*columns.shape[:-1], structure.entities, 1, structure.shape.inputs)
        return self.frame.normalise_inputs(physical)[..., 0, :]

    def _core(self, state: WorldState) -> Core:
        alive = self._internal(state.alive[..., None].float()) if self.model.traits.mortal else None
        labels = self._internal(state.categories)
        queue = state.queue.transpose(1, 2).flatten(2)
        queue = self._internal(queue).unflatten(-1, (self.frame.structure.shape.taps, -1))
        return Core(self._internal(state.channels), labels, alive, self._internal(state.memory), queue)

    def _internal(self, value: Tensor) -> Tensor:
        """[N, E, F] to [M, E, B, F]; missing worlds of the last row repeat the first ones."""
        members = self.model.members
        short = self._batch * members - self.n
        if short:
            index = torch.arange(self._batch * members, device=value.device) % self.n
            value = value[index]
        return value.view(self._batch, members, *value.shape[1:]).permute(1, 2, 0, 3)

    def _internal_rows(self, value: Tensor) -> Tensor:
        """[N, H, E, F] to [M, E, B, H, F]."""
        rows = value.shape[1]
        found: Tensor = self._internal(value.transpose(1, 2).flatten(2)).unflatten(-1, (rows, -1))
        return found

    def _external(self, value: Tensor) -> Tensor:
        """[M, E, B, F] to [N, E, F]."""
        return value.permute(2, 0, 1, 3).reshape(-1, value.shape[1], value.shape[3])[: self.n]

    def _external_queue(self, queue: Tensor) -> Tensor:
        found: Tensor = self._external(queue.flatten(-2)).unflatten(-1, (queue.shape[-2], -1)).transpose(1, 2)
        return found

    def _conditioning(self, z: Tensor) -> Conditioning:
        """Computed once per scene sample."""
        if self._conditions is None or self._conditions[0] is not z:
            with torch.no_grad():
                internal = self._internal(z.view(self.n, self.frame.structure.entities, -1))
                found = network.condition(
                    self._weights, self.frame.static[None, :, None], internal, self.frame.adjacency
                )
            self._conditions = (z, found)
        return self._conditions[1]

    def _task_bias(self, z: Tensor) -> Tensor:
        """Computed once per scene sample."""
        if self._task_biases is None or self._task_biases[0] is not z:
            internal = self._internal(z.view(self.n, self.frame.structure.entities, -1))
            self._task_biases = (z, task_head.condition(self._weights, self.frame.static[None, :, None], internal))
        return self._task_biases[1]

    def _stream(self, draw: Callable[[int, int, Tensor, Tensor, int], Tensor], stream: int, count: int) -> noise.Stream:
        return noise.Stream(draw, self.seed, stream, count, self._clock)

    def _sensor(self) -> Tensor:
        conditioning = self._conditioning(self.z)
        return dynamics.spread(conditioning.sensor) * self.frame.step_scale * self.frame.present
