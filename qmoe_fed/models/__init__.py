"""Routers, experts and their mixture: plain modules for one client."""

from qmoe_fed.models.angles import angle_names, wrap
from qmoe_fed.models.build import build_model, initial_parameters
from qmoe_fed.models.devices import Parameters, device_strengths
from qmoe_fed.models.mixture import ExpertList, LinearExperts, Mixture
from qmoe_fed.models.routers import LinearRouter, MlpRouter, QuantumRouter, TrigRouter
from qmoe_fed.models.shots import draw_keys

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
    "draw_keys",
    "initial_parameters",
    "wrap",
]
