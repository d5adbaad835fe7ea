"""A quantum router on a noisy machine, many strengths of the noise in one tensor program."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from qmoe_fed.circuits import Circuit, density
from qmoe_fed.circuits.channels import PLACEMENTS, Noise
from qmoe_fed.config import ModelConfig
from qmoe_fed.models import Mixture, Parameters, QuantumRouter, build_model

READOUT_ERROR = "readout-error"
"""The channel that flips measured bits and leaves the gates alone."""

MEASUREMENT = "measurement"
"""Where readout errors happen, beside the placements of the channels on gates."""


class NoisyQuantumRouter(QuantumRouter):
    """A quantum router whose circuit is simulated exactly under noise.

    The strengths of the noise are parameters that are not trained, so that replicas may differ in
    them: ``strength`` of the channel and ``readout_error``, both scalars in [0, 1].

    Args:
        circuit: As in ``QuantumRouter``.
        config: Number of experts, readout and initial angles.
        noise: Channel and placement; its strengths are not used.
    """

    def __init__(self, circuit: Circuit, config: ModelConfig, noise: Noise) -> None:
        super().__init__(circuit, config.num_experts, config.readout, config.init_angle)
        self.noise = noise
        self.strength = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.readout_error = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.simulate = self._simulate

    def _simulate(self, circuit: Circuit, x: Tensor, theta: Tensor) -> Tensor:
        return density.run(circuit, x, theta, self.noise.at(self.strength, self.readout_error))


def noisy_model(
    config: ModelConfig, channel: str, placement: str, features: int, classes: int
) -> Mixture:
    """Return the mixture for one replica, its quantum router under noise.

    Args:
        config: Router and experts.
        channel: A channel on gates, or ``READOUT_ERROR``.
        placement: Where the channel acts, see ``Noise``; ``MEASUREMENT`` for readout errors.
        features: Number of input features d.
        classes: Number of classes C.

    Raises:
        UserError: There is no such channel or placement.
    """
    if channel == READOUT_ERROR:
        noise = Noise("depolarizing", 0.0, PLACEMENTS[0])
    else:
        noise = Noise(channel, 0.0, placement)
    model = build_model(replace(config, circuit_engine="statevector"), features, classes)
    assert isinstance(model.router, QuantumRouter)
    model.router = NoisyQuantumRouter(model.router.circuit, config, noise)
    return model


def expose(parameters: Parameters, channel: str, strengths: Sequence[float]) -> Parameters:
    """Return the parameters of S noiseless models under each of E strengths.

    Args:
        parameters: Of S replicas of the model without noise.
        channel: As in ``noisy_model``.
        strengths: In [0, 1].

    Returns:
        Parameters of ``noisy_model``, E·S replicas; replica e·S + s is s under strength e.
    """
    seeds = len(next(iter(parameters.values())))
    copies = {
        name: values.repeat(len(strengths), *[1] * (values.dim() - 1))
        for name, values in parameters.items()
    }
    return copies | levels(channel, strengths, seeds)


def levels(channel: str, strengths: Sequence[float], seeds: int) -> Parameters:
    """Return the strengths of E·S replicas as their parameters; arguments as in ``expose``."""
    level = torch.tensor(strengths, dtype=torch.float32).repeat_interleave(seeds)
    none = torch.zeros_like(level)
    on_gates, on_bits = (none, level) if channel == READOUT_ERROR else (level, none)
    return {"router.strength": on_gates, "router.readout_error": on_bits}
