"""Reads physical parameters out of a scene's latent, and tests whether its posterior is calibrated.

A probe is linear, fitted per family and member on training robots; its predictive standard deviation grows with the
posterior's own. On unseen robots the rank of the true parameter in the predictive must be uniform (simulation-based
calibration, Talts et al. 2018).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from simulator.prompt import Prompt
from simulator.simulator import Simulator

WORLDS = 160
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True, eq=False)
class Latent:
    """Posterior of one scene by member: `mean`, `deviation` [M, Z]."""

    mean: np.ndarray
    deviation: np.ndarray


def latent(simulator: Simulator, prompt: Prompt, seed: int = 0) -> Latent:
    """Moments of the sampled scene latents, everything of a world flattened."""
    worlds = simulator.ground(prompt).sample(WORLDS, seed)
    with torch.no_grad():
        state = worlds.reset()
    z = state.get("z").flatten(1).double().numpy()
    groups = [z[state.member.numpy() == m] for m in np.unique(state.member.numpy())]
    return Latent(np.stack([g.mean(0) for g in groups]), np.stack([g.std(0, ddof=1) for g in groups]))


@dataclass(frozen=True, eq=False)
class Probe:
    """Predictive of a parameter from a member: mean `weight` . z + `bias`, variance `floor` + `gain` weight² . s²."""

    weight: np.ndarray
    bias: float
    floor: float
    gain: float

    def predict(self, z: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [R] for latents `z`, `s` [R, Z]."""
        return z @ self.weight + self.bias, np.sqrt(self.floor + self.gain * (s**2 @ self.weight**2))


def fit_probe(z: np.ndarray, s: np.ndarray, target: np.ndarray) -> Probe:
    """`z`, `s` [R, Z], `target` [R] on training robots. The ridge and the spread come from held-out folds of them."""
    folds = np.arange(len(z)) % 5
    best: tuple[float, float, np.ndarray] | None = None
    for ridge in RIDGES:
        residual = np.zeros(len(z))
        for fold in range(5):
            weight, bias = _ridge(z[folds != fold], target[folds != fold], ridge)
            residual[folds == fold] = target[folds == fold] - z[folds == fold] @ weight - bias
        if best is None or float((residual**2).mean()) < best[0]:
            best = (float((residual**2).mean()), ridge, residual)
    _, ridge, residual = best or (0.0, 1.0, np.zeros(len(z)))
    weight, bias = _ridge(z, target, ridge)
    own = s**2 @ weight**2
    options = [(floor, gain) for floor in np.linspace(0.02, 1.0, 25) for gain in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)]
    square = max(float((residual**2).mean()), 1e-12)

    def loss(option: tuple[float, float]) -> float:
        variance = option[0] * square + option[1] * own
        return float((np.log(variance) + residual**2 / variance).mean())

    floor, gain = min(options, key=loss)
    return Probe(weight, bias, floor * square, gain)


def _ridge(z: np.ndarray, target: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    middle = z.mean(0)
    centred = z - middle
    gram = centred.T @ centred + ridge * len(z) * np.eye(z.shape[1]) * max(float(centred.var(0).mean()), 1e-12)
    weight = np.linalg.solve(gram, centred.T @ (target - target.mean()))
    return weight, float(target.mean() - middle @ weight)


def rank(mean: np.ndarray, deviation: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[R] place of the truth in the normal predictive, in [0, 1]."""
    scores = (target - mean) / deviation
    return np.array([0.5 * math.erfc(-score / math.sqrt(2)) for score in scores])


def probe_ranks(
    train: Sequence[Latent], train_values: np.ndarray, test: Sequence[Latent], test_values: np.ndarray
) -> tuple[np.ndarray, float]:
    """Ranks [R] on the test robots, of the mean predictive over members, and R² of its mean there."""
    means, deviations = [], []
    for m in range(len(train[0].mean)):
        probe = fit_probe(np.stack([x.mean[m] for x in train]), np.stack([x.deviation[m] for x in train]), train_values)
        mean, deviation = probe.predict(np.stack([x.mean[m] for x in test]), np.stack([x.deviation[m] for x in test]))
        means.append(mean)
        deviations.append(deviation)
    mean = np.mean(means, 0)
    # Members agree in what the prompt shows: their errors are taken as fully correlated.
    deviation = np.mean(deviations, 0)
    explained = 1 - float(((test_values - mean) ** 2).mean() / test_values.var())
    return rank(mean, deviation, test_values), explained
