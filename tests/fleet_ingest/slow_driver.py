"""The cart-pole stand-in, slowed down, so that a test can kill its process in the middle of an episode."""

import time

import numpy as np

from fleet_ingest.standins.cartpole import CartPoleStandIn

STEP_S = 0.004


class SlowCartPole(CartPoleStandIn):
    def apply(self, command: np.ndarray) -> None:
        time.sleep(STEP_S)
        super().apply(command)


def open_robot(serial: str) -> SlowCartPole:
    return SlowCartPole(serial)
