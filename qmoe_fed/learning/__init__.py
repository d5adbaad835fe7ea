"""Training and scoring of many replicas of a model at once."""

from qmoe_fed.learning.metrics import Scores, evaluate, worst_tenth
from qmoe_fed.learning.trainer import Task, Trained, train

__all__ = ["Scores", "Task", "Trained", "evaluate", "train", "worst_tenth"]
