"""Models of the studies by name, for tests."""

from ablation_views import MODELS, SWEEPS

LABELS = {
    "linear": "A: linear",
    "quantum": "B: quantum",
    "deep": "C: deep",
    "mlp-16": "C, 16 wide",
    "separable": "B without CZ",
    "trig": "trigonometric",
    "reuploading": "B, re-uploading",
    "notebook": "B, notebooks",
    "classifier": "linear classifier",
}


def model(name, experts=2):
    (found,) = (m for m in MODELS if (m["experts"], m["model"]) == (experts, LABELS[name]))
    return found["settings"]


def swept(dataset, quick=False):
    entries = SWEEPS[dataset]["models"]
    return {e["model"]: e["settings"] for e in entries if e.get("quick") or not quick}
