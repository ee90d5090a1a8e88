"""What a simulator's training may be told. Small, frozen, validated; part of every key and manifest.

Nothing here names a robot: sizes that follow from the robots (slots, taps) are derived in `structure.Shape`.
"""

from pydantic import Field, model_validator

from storage.contracts.base import Contract
from storage.contracts.errors import ContractError


class Stage(Contract):
    """One stage of the rollout curriculum: `share` of all updates are made on rollouts of `steps` steps."""

    steps: int = Field(ge=1, le=512)
    share: float = Field(gt=0, le=1)


class SimulatorConfig(Contract):
    """Training configuration. `updates` counts gradient steps, never seconds.

    `rows` is the number of (world, step) pairs per member and update, so that an update costs about the same at every
    rollout length. With a parent, `warm_updates` are made, on the stages of `warm_curriculum`.
    """

    seed: int = 0
    members: int = Field(default=5, ge=1, le=32)
    width: int = Field(default=64, ge=8, le=1024)
    messages: int = Field(default=16, ge=2, le=256)
    terms: int = Field(default=32, ge=2, le=256)
    """Products of a coefficient (configuration and scene) and a drive (rates, squares, inputs) per entity."""
    memory: int = Field(default=8, ge=1, le=256)
    scene: int = Field(default=8, ge=1, le=256)
    """Width of the scene latent of each entity."""
    history_s: float = Field(default=0.2, gt=0, le=5)
    delay_s: float = Field(default=0.06, ge=0, le=1)
    updates: int = Field(default=1200, ge=1)
    warm_updates: int = Field(default=300, ge=1)
    rows: int = Field(default=512, ge=8)
    task_rows: int = Field(default=256, ge=8)
    """Logged intervals per member and update from which the task head learns."""
    min_batch: int = Field(default=32, ge=2)
    max_batch: int = Field(default=128, ge=2)
    samples: int = Field(default=2, ge=2, le=16)
    curriculum: tuple[Stage, ...] = (
        Stage(steps=1, share=0.15),
        Stage(steps=4, share=0.3),
        Stage(steps=16, share=0.35),
        Stage(steps=32, share=0.2),
    )
    warm_curriculum: tuple[Stage, ...] = (
        Stage(steps=4, share=0.3),
        Stage(steps=16, share=0.5),
        Stage(steps=32, share=0.2),
    )
    learning_rate: float = Field(default=6e-3, gt=0)
    warm_learning_rate: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    average: float = Field(default=0.98, ge=0, lt=1)
    """Decay of the exponential moving average of the weights, which is what is kept."""
    kl_weight: float = Field(default=3e-4, ge=0)
    known_share: float = Field(default=0.8, ge=0, le=1)
    """Share of the scenes of a batch whose latent is what training believes of the robot; the others are as open as
    without logs."""
    known_rate: float = Field(default=1.0, gt=0)
    """Learning rate of what training believes of the robots, relative to that of the weights: each robot's turn comes
    seldom where there are many."""
    belief_weight: float = Field(default=0.0, ge=0)
    """Weight of the squares of what training believes of the robots: with it, what their specifications tell is learned
    from those, where many robots differ."""
    teach_weight: float = Field(default=0.01, ge=0)
    """Weight of prompt encoders saying what training believes."""
    prior_weight: float = Field(default=0.01, ge=0)
    """Weight of the latents of all robots together being spread as the prior says."""
    notes_drop: float = Field(default=0.4, ge=0, le=1)
    """Share of the scenes of a batch whose notes are withheld."""
    history_drop: float = Field(default=0.2, ge=0, le=1)
    balance: float = Field(default=0.5, ge=0, le=1)
    """How much more often than a kind of robot with few rows of log one with many is learned from: 0 as often, 1 in
    proportion."""
    groups: int = Field(default=8, ge=1)
    """Scenes per batch; the targets of a batch share them."""
    forget: float = Field(default=1.0, ge=0, le=1)
    """Scale of the chance that a known physical quantity is withheld from the network, so that any subset of a
    specification works."""
    always_said: tuple[str, ...] = ("length", "limits.low", "limits.high")
    """Quantities that makers state: some batches withhold all others."""
    jitter: float = Field(default=0.05, ge=0, le=1)
    """Deviation of the logarithms of the random factors on scales, so that a robot never seen may have its own."""
    checkpoint_every: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> "SimulatorConfig":
        for name in ("curriculum", "warm_curriculum"):
            total = sum(stage.share for stage in getattr(self, name))
            if abs(total - 1.0) > 1e-6:
                raise ContractError(f"the shares of '{name}' add up to {total:.4f}; they must add up to 1")
        return self

    def stages(self, warm: bool) -> list[int]:
        """Rollout length of every update, in order."""
        updates, stages = (self.warm_updates, self.warm_curriculum) if warm else (self.updates, self.curriculum)
        lengths: list[int] = []
        total = 0.0
        for stage in stages:
            total += stage.share
            lengths += [stage.steps] * (round(total * updates) - len(lengths))
        return lengths
