"""How sure one may be of a share that was counted."""

import math
from statistics import NormalDist

from storage.contracts.errors import ContractError


def wilson(held: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of which `held` of `n` trials speak (Wilson 1927, JASA 22, 209-212).

    Unlike p ± z s it stays within [0, 1] and has width at 0 and 1. Raises ContractError for impossible counts.
    """
    if not (0 <= held <= n and n > 0 and 0 < level < 1):
        raise ContractError(f"{held} of {n} trials at level {level} is no share")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = held / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
