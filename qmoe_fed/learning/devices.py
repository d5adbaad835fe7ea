"""Clients as devices: what each has of its own, drawn from seed and client."""

from collections.abc import Sequence

from qmoe_fed import rng
from qmoe_fed.config import Config

DRAWS = "router.draw", "experts.draw"
"""The buffers with the key of what is drawn by finite shots, another in every step."""


def client_layers(config: Config, clients: Sequence[int]) -> list[int]:
    """Return the number of layers of the circuit of each client, uniform among the depths."""
    depths = config.model.depths
    if len(depths) == 1:
        return [depths[0]] * len(clients)
    drawn = rng.uniform(config.federation.seed, "layers", clients)
    return [depths[int(len(depths) * u)] for u in drawn]
