"""Which colour and marker stands for which router, in all pictures."""

from qmoe_fed.results.figures.style import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
)
from qmoe_fed.studies.ablation import efficiency
from qmoe_fed.studies.models import LABELS

_COLORS = {
    "linear": GREY,
    "quantum": BLUE,
    "deep": ORANGE,
    "mlp-16": BROWN,
    "separable": GREEN,
    "trig": PURPLE,
    "reuploading": VERMILLION,
    "notebook": SKY,
    "classifier": BLACK,
}

MODELS = {LABELS[name]: color for name, color in _COLORS.items()}
"""Colour by label of a model of the ablation."""

FAMILIES = {
    efficiency.CIRCUIT: (BLUE, "o"),
    efficiency.REUPLOADING: (VERMILLION, "D"),
    efficiency.SEPARABLE: (GREEN, "s"),
    efficiency.NOTEBOOK: (SKY, "P"),
    efficiency.MLP: (ORANGE, "^"),
    efficiency.LINEAR: (GREY, "v"),
    efficiency.TRIG: (PURPLE, "X"),
}
"""Colour and marker by label of a model of the sweeps."""
