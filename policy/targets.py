"""Targets of the value function, and advantages. Arrays are [T, N], time first.

`next_value[t]` is the value of the state that step t arrived in, before anything was reset, and 0 counts for it where
`terminated[t]`: a run cut by time bootstraps from that state's value, a run that ended does not (Pardo et al. 2018).
`ended[t]` says that step t + 1 belongs to another run, for either reason; no sum crosses it.
"""

import torch
from torch import Tensor


def td_lambda(
    reward: Tensor, next_value: Tensor, terminated: Tensor, ended: Tensor, discount: float, trace: float
) -> Tensor:
    """TD(lambda) returns [T, N] (Sutton and Barto 2018, eq. 12.18).

    G_t = r_t + discount * ((1 - trace) * V(s_t+1) + trace * G_t+1), with G_t+1 = V(s_t+1) at the end of a run or
    of the window.
    """
    value = next_value * (~terminated)
    following = value[-1]
    returns = torch.empty_like(reward)
    for t in range(reward.shape[0] - 1, -1, -1):
        following = torch.where(ended[t], value[t], following)
        returns[t] = reward[t] + discount * ((1 - trace) * value[t] + trace * following)
        following = returns[t]
    return returns


def advantages(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, ended: Tensor, discount: float, trace: float
) -> Tensor:
    """Generalised advantages [T, N] (Schulman et al. 2016, eq. 16): A_t = delta_t + discount * trace * A_t+1
    within a run."""
    delta = reward + discount * next_value * (~terminated) - value
    following = torch.zeros_like(value[0])
    found = torch.empty_like(reward)
    for t in range(reward.shape[0] - 1, -1, -1):
        following = delta[t] + discount * trace * torch.where(ended[t], torch.zeros_like(following), following)
        found[t] = following
    return found
