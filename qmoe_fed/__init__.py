"""Federated learning of a shared quantum router over private experts.

::

    import qmoe_fed as q

    run = q.run(dataset="moons", num_clients=50, router="quantum")  # in this process
    run.clients  # a pandas frame, as are run.rounds and run.unseen
    run.predict(client=3, x=[[0.5, 0.25]])  # class probabilities
    run.plot("decision-regions")

What is listed here is public, and so is what the package ``strategies`` lists; all else may change.

The router is that of "the paper", wherever this package says so: R. Heddad and L. Bouanane, "Hybrid
Quantum-Classical Mixture of Experts: Unlocking Topological Advantage via Interference-Based
Routing", arXiv:2512.22296 (2025).

The floors, each usable without those above it:
``errors``, ``memory``, ``rng``, ``signals`` → ``config`` → ``circuits`` → ``models`` → ``data`` →
``learning`` → ``results`` → ``federated`` → ``experiments`` → ``launch`` → ``estimators``,
``notebook``, ``cli``. The package ``strategies`` is what users extend; it stands on ``federated``
and is known here by name only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmoe_fed.circuits import Circuit
    from qmoe_fed.config import Config
    from qmoe_fed.data import Table
    from qmoe_fed.errors import RunFailed, UserError
    from qmoe_fed.estimators import FederatedMixture, MixtureClassifier
    from qmoe_fed.federated import Federation
    from qmoe_fed.notebook import Comparison, Run, compare, load_run, run

__all__ = [
    "Circuit",
    "Comparison",
    "Config",
    "FederatedMixture",
    "Federation",
    "MixtureClassifier",
    "Run",
    "RunFailed",
    "Table",
    "UserError",
    "compare",
    "load_run",
    "run",
]

_HOMES = {
    "circuits": ("Circuit",),
    "config": ("Config",),
    "data": ("Table",),
    "errors": ("RunFailed", "UserError"),
    "estimators": ("FederatedMixture", "MixtureClassifier"),
    "federated": ("Federation",),
    "notebook": ("Comparison", "Run", "compare", "load_run", "run"),
}


def __getattr__(name: str) -> Any:
    # imported late: the command line must start at once
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"qmoe_fed.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
