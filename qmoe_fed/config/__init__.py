"""The settings of a run, and what a name or an import path in them means."""

from qmoe_fed.config.plugins import load_object
from qmoe_fed.config.schema import (
    Config,
    DataConfig,
    FederationConfig,
    ModelConfig,
    PrivacyConfig,
    ResultsConfig,
    StrategyConfig,
    TrainingConfig,
    UnseenConfig,
)

__all__ = [
    "Config",
    "DataConfig",
    "FederationConfig",
    "ModelConfig",
    "PrivacyConfig",
    "ResultsConfig",
    "StrategyConfig",
    "TrainingConfig",
    "UnseenConfig",
    "load_object",
]
