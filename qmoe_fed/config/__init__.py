"""The settings of a run, and what a name or an import path in them means."""

from qmoe_fed.config.model import ModelConfig
from qmoe_fed.config.plugins import call, load_object
from qmoe_fed.config.schema import Config
from qmoe_fed.config.sections import DataConfig, StrategyConfig, TrainingConfig

__all__ = [
    "Config",
    "DataConfig",
    "ModelConfig",
    "StrategyConfig",
    "TrainingConfig",
    "call",
    "load_object",
]
