"""Routers, experts and their mixture: plain modules for one client."""

from qmoe_fed.models.angles import angle_names, wrap
from qmoe_fed.models.build import Parameters, build_model, device_strengths, initial_parameters
from qmoe_fed.models.mixture import ExpertList, LinearExperts, Mixture
from qmoe_fed.models.routers import LinearRouter, MlpRouter, QuantumRouter, TrigRouter

__all__ = [
    "ExpertList",
    "LinearExperts",
    "LinearRouter",
    "Mixture",
    "MlpRouter",
    "Parameters",
    "QuantumRouter",
    "TrigRouter",
    "angle_names",
    "build_model",
    "device_strengths",
    "initial_parameters",
    "wrap",
]
