"""What others printed about noise on Two Moons."""

TABLE_II = {0.0: 0.94, 0.005: 0.92, 0.01: 0.89, 0.02: 0.82, 0.03: 0.73}
"""Accuracy of the quantum router by error rate (paper, Table II).

Qiskit Aer, depolarizing, per gate (section VI-C); the paper says neither whether the rate is
Qiskit's λ, nor whether the router was trained under the noise, nor with how many shots.
"""

TABLE_II_LINEAR = 0.65
"""Accuracy of Model A at every error rate there."""

BREAKDOWN = 0.025
"""Error rate of the breakdown, as section VI-C puts it."""

NOTEBOOK = {0.0: 1.0, 0.02: 0.982, 0.05: 0.989, 0.1: 0.994, 0.15: 0.986, 0.2: 0.975}
"""Accuracy on the training samples by PennyLane's p, in the notebook on noise of the same authors.

Their other circuit, trained under the noise; the channel acts on each wire after the embedding and
at the end. One run, and the published numbers come from no held-out data.
"""

NOTEBOOK_LEARNING_RATE, NOTEBOOK_EPOCHS = 0.05, 20
"""Of that notebook."""
