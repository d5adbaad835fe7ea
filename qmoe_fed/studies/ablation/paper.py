"""What the paper and its authors' notebooks print about the ablation.

None of it comes with a spread or a number of runs. The notebooks' accuracies are those on the
samples that were trained on.
"""

ACCURACY = {"linear": 0.65, "deep": 0.93, "quantum": 0.94}
"""On Two Moons (Table I)."""

PARAMETERS = {"linear": 12, "deep": 240, "quantum": 24}
"""Of the router (Table I; section IV-C: P = L·n for the quantum one)."""

ETA = {"linear": 2.79, "deep": 3.82, "quantum": 7.14}
"""Accuracy / log(1 + P) (Table I; formula in section V-C)."""

EPOCHS_TO_90 = {"quantum": 20, "deep": 50}
"""Epochs to 90% accuracy on Two Moons, "within 20" and 50 (section VI-D)."""

TIMES_MORE_PARAMETERS = 10
"""That the deep router requires for a similar accuracy (section VI-A)."""

MNIST = {"quantum": (0.965, 32), "classical": (0.958, 128)}
"""Accuracy and router parameters, 0 against 1, PCA-8, 2000/400 (section VI-B)."""

ETA_FACTORS = 1.5, 2.5
"""By which η "across all datasets consistently favored the quantum router" (section VI-B)."""

NOTEBOOK_MLP = {2: 0.875, 4: 0.882, 8: 0.877, 16: 0.991, 32: 0.995, 64: 0.995}
"""Accuracy of MLP routers by width (notebook of phase 3: 1000 samples, rate 0.05, 30 epochs)."""

NOTEBOOK_QUANTUM = 0.996
"""Accuracy of the notebooks' quantum router with 24 parameters, same notebook."""
