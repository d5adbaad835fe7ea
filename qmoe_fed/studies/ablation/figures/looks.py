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
    efficiency.CIRCUIT: (BLUE, "o", BLUE),
    efficiency.REUPLOADING: (VERMILLION, "D", VERMILLION),
    efficiency.SEPARABLE: (GREEN, "s", "none"),  # often where the circuit with CZ is
    efficiency.NOTEBOOK: (SKY, "P", SKY),
    efficiency.MLP: (ORANGE, "^", ORANGE),
    efficiency.LINEAR: (GREY, "v", GREY),
    efficiency.TRIG: (PURPLE, "X", PURPLE),
}
"""Colour, marker and its filling by label of a model of the sweeps."""
