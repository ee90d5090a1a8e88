"""What the stand-ins' makers say of them: specifications as on a data sheet, and the tasks that people want done.

Nothing here reveals the physics that a serial number hides, and no physics engine is imported.
"""

import math

from storage.contracts.channel import Channel, Kind, Role
from storage.contracts.robot import Entity, RobotSpec
from storage.contracts.task import Task

CARTPOLE = RobotSpec(
    name="cartpole",
    control_rate_hz=50.0,
    channels=(
        Channel(name="cart.position", kind=Kind.LINEAR, unit="m", entity="cart", limits=(-1.5, 1.5)),
        Channel(name="cart.velocity", kind=Kind.LINEAR, unit="m/s", entity="cart", derivative_of="cart.position"),
        Channel(name="pole.angle", kind=Kind.ANGLE, unit="rad", entity="pole"),
        Channel(name="pole.rate", kind=Kind.LINEAR, unit="rad/s", entity="pole", derivative_of="pole.angle"),
        Channel(name="cart.force", kind=Kind.EFFORT, role=Role.COMMAND, unit="N", entity="cart", limits=(-10.0, 10.0)),
    ),
    entities=(
        Entity(name="cart", type="joint", joint_type="prismatic", axis=(1, 0, 0), mass_kg=1.0, limits=(-1.5, 1.5)),
        Entity(
            name="pole", type="joint", joint_type="revolute", parent="cart", axis=(0, 1, 0), length_m=0.6, mass_kg=0.2
        ),
    ),
    safe_command=(0.0,),
    source_text="Cart on a rail of 3 m with end stops, a motor of 10 N, a free pole. Angle 0 is upright.",
)
"""State order: cart.position, cart.velocity, pole.angle (0 upright, pi hanging, read in [-pi, pi)), pole.rate."""

CARTPOLE_SWINGUP = Task(
    name="cartpole-swingup",
    # Upright, slow when upright, near the middle, sparing: each factor lies in (0, 1], so does the product.
    reward=(
        "square(0.5 * (1 + cos(pole.angle)))"
        " * (0.5 + 0.5 * exp(-square(pole.rate / 6)))"
        " * (0.3 + 0.7 * exp(-square(cart.position / 0.7)))"
        " * (1 - 0.1 * square(cart.force / 10))"
    ),
    horizon_s=5.0,
    start={"pole.angle": (math.pi - 0.1, math.pi + 0.1), "cart.position": (-0.2, 0.2)},
)
