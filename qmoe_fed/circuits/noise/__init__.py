"""Circuits under noise: channels in the list of operations, and engines that run them exactly."""

from qmoe_fed.circuits.noise.placement import (
    PLACEMENTS,
    depolarizing_from_qiskit,
    depolarizing_to_qiskit,
    with_noise,
)

__all__ = ["PLACEMENTS", "depolarizing_from_qiskit", "depolarizing_to_qiskit", "with_noise"]
