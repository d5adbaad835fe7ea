"""Federated learning of a shared quantum router over private experts.

The router is that of "the paper", wherever this package says so: R. Heddad and L. Bouanane, "Hybrid
Quantum-Classical Mixture of Experts: Unlocking Topological Advantage via Interference-Based
Routing", arXiv:2512.22296 (2025).

The floors, each usable without those above it:
``errors``, ``rng``, ``signals`` → ``config`` → ``circuits`` → ``models`` → ``data`` →
``learning`` → ``results`` → ``federated`` → ``experiments`` → ``launch`` → ``cli``. The package
``strategies`` is what users extend; it stands on ``federated`` and is known here by name only.
"""
