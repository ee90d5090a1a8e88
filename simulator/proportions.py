"""How coefficients of mechanics follow what a specification says, until logs tell better.

Inertia and weight are in proportion to mass, resistance to what is said of damping and friction, drive to the gear:
that is what these words mean. Weights begin here and learn from here on; nothing is kept that logs speak against, and
where nothing is said nothing follows.
"""

import numpy as np

from simulator import features
from simulator.network import SHARPNESS, power_columns, power_width
from simulator.structure import Shape

_USUAL = {"mass": 0.3, "damping": 0.04, "friction": 0.04, "gear": 1.0}
"""SI units. Coefficients of a robot that is like this are as large as those of one of which nothing is said."""


def proportions(shape: Shape) -> np.ndarray:
    """float32 [F, 2 * power_width(shape)]: what is added to the weights by which logarithms of coefficients are read
    from static features; to those of the first of two summands."""
    found = np.zeros((features.width(shape), 2 * power_width(shape)), dtype=np.float32)
    at = power_columns(shape)
    follows = {
        "mass": [(at.points, 0.5), (at.potential, 1.0)],
        "damping": [(joint.damping, 1.0) for joint in at.joints],
        "friction": [(joint.friction + i, 1.0) for joint in at.joints for i in range(len(SHARPNESS))],
        "gear": [(joint.drive, 1.0) for joint in at.joints],
    }
    for name, columns in follows.items():
        size, known = features.size_and_known(shape, name)
        usual = features.fine(_USUAL[name])
        for column, exponent in columns:
            found[size, column] = exponent * features.PER_LOGARITHM
            found[known, column] = -exponent * features.PER_LOGARITHM * usual
    return found
