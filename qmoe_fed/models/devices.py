"""What a client's device is to its circuits: how noisy, and what the router knows of that."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from qmoe_fed import rng
from qmoe_fed.config import ModelConfig

Parameters = dict[str, Tensor]
"""Parameters by name; of K replicas when each tensor has a leading dimension K."""


def device_strengths(
    config: ModelConfig, seed: int, clients: Sequence[int], server_round: int = 0
) -> Parameters:
    """Return the strengths of noise of clients' devices, by name of the model's buffers.

    They are uniform among clients. With ``noise-drift`` each goes on from there at a pace of its
    own, up or down, and turns around at the ends of the range.

    Returns:
        ``router.strengths`` and ``experts.strengths``, as far as these are circuits, ``(K, S)``: a
        row for each client that depends on (seed, client, round) only; nothing if all clients
        have the same. With ``calibration`` also ``router.calibration``, ``(K, 1)``: where in its
        range the first of them is, from 0 to π.
    """
    spreads = {"noise-strength": config.strengths, "readout-error": config.readout_errors}
    places, rows = [], []
    for name, spread in spreads.items():
        if spread.differ:
            place = rng.uniform(seed, name, clients)
            if config.noise_drift:
                pace = 2 * rng.uniform(seed, f"drift/{name}", clients) - 1
                turned = (place + config.noise_drift * pace * server_round) % 2
                place = np.minimum(turned, 2 - turned)
            places.append(place)
            rows.append(spread.low + (spread.high - spread.low) * place)
    if not rows:
        return {}
    strengths = torch.from_numpy(np.stack(rows, -1)).float()
    found = {f"{part}.strengths": strengths for part in config.quantum}
    if config.calibration:
        found["router.calibration"] = torch.from_numpy(np.pi * places[0]).float()[:, None]
    return found


def calibrated(router: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return what a router sees: x ``(..., B, d)`` and the calibration of its device beside it."""
    (x,) = inputs
    calibration = router.get_buffer("calibration").to(x)
    return torch.cat([x, calibration.expand(*x.shape[:-1], 1)], -1)
