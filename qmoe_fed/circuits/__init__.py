"""The quantum part: circuits as lists of operations, and engines that run them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from qmoe_fed.circuits import statevector
from qmoe_fed.circuits.circuit import Circuit
from qmoe_fed.circuits.noise.placement import with_noise
from qmoe_fed.circuits.operations import (
    Angle,
    Channel,
    Gate,
    Operation,
    Slot,
    amplitude_embedding,
    channel,
    feature,
    gate,
    parameter,
    unitary,
)
from qmoe_fed.errors import UserError, unknown

__all__ = [
    "Angle",
    "Channel",
    "Circuit",
    "Engine",
    "Gate",
    "Operation",
    "Slot",
    "amplitude_embedding",
    "channel",
    "engine",
    "feature",
    "gate",
    "parameter",
    "unitary",
    "with_noise",
]

Engine = Callable[[Circuit, Tensor, Tensor, Tensor | None], Tensor]
"""``run(circuit, x, theta, strengths)``, as ``statevector.run``."""


def engine(name: str, options: str = "", shots: int = 0) -> Engine:
    """Return the function that runs circuits.

    Args:
        name: ``statevector``, our exact simulation, under noise too; or ``pennylane:<device>`` for
            a device that PennyLane offers.
        options: Keyword arguments of that device, e.g. ``"seed = 3"``.
        shots: How often that device measures; 0: not at all, it returns exact values.

    Raises:
        UserError: There is no such engine or device, or it takes no such options or shots.
    """
    if name == "statevector":
        if options or shots:
            raise UserError("device-options and shot-source = 'device' need a PennyLane device")
        return statevector.run
    kind, _, device = name.partition(":")
    if kind != "pennylane" or not device:
        raise unknown("circuit engine", name, ["statevector", "pennylane:<device>"])
    # imported only here: PennyLane takes seconds and hundreds of megabytes
    from qmoe_fed.circuits import pennylane

    pennylane.check_device(device, options)
    return partial(pennylane.run, device=device, options=options, shots=shots)
