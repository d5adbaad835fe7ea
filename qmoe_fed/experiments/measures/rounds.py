"""How far a federation comes in its rounds, and how often its clients run circuits for that."""

from collections.abc import Mapping, Sequence

import torch

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar
from qmoe_fed.experiments.cells import Measured, Row
from qmoe_fed.federated import Federation
from qmoe_fed.learning.routing import mutual_information
from qmoe_fed.models.quantum import QuantumModule
from qmoe_fed.models.shifts import shifts
from qmoe_fed.results.summary import spread


def rounds(settings: Mapping[str, Scalar], at: Sequence[int]) -> Measured:
    """Run a federation with one seed and score it after some of its rounds.

    Args:
        settings: Of the federation.
        at: The rounds, ascending; the last is where it ends.

    Returns:
        A row per round: ``accuracy`` and ``worst10`` over clients on their own test samples;
        ``client_information``, what the expert tells about the client, in bits; ``executions``,
        how often a client has circuits run and measured in a round of training, None if exact.

    Raises:
        UserError: The settings cannot work.
    """
    config = Config.from_flat(settings)
    federation = Federation(config)
    circuits = (federation.model.module.router, federation.model.module.experts)
    each = sum(executions(part) for part in circuits if isinstance(part, QuantumModule))
    state, found = federation.init(), list[Row]()
    while state.round < at[-1]:
        state, _ = federation.round(state)
        if state.round in at:
            columns = federation.score(state).columns
            loads = [columns[f"load-{i}"] for i in range(config.model.num_experts)]
            load = torch.stack(loads, -1)
            accuracy = spread(columns["accuracy"])
            trained = config.training.local_epochs * float(columns["train-samples"].mean())
            found.append(
                {
                    "seed": config.federation.seed,
                    "round": state.round,
                    "accuracy": accuracy["mean"],
                    "worst10": accuracy["worst10"],
                    "client_information": mutual_information(load / len(load)),
                    "executions": each * trained or None,
                }
            )
    return Measured(found)


def executions(part: QuantumModule) -> int:
    """Return how often circuits are run for a training sample, its gradient included; 0: exact."""
    if not part.shots or not part.training_draws:
        return 0
    circuits = len(part.theta) if part.theta.dim() > 1 else 1
    each = part.shots.values()
    others = (2 if shots.spsa else len(shifts(shots.outcomes)[1]) for shots in each)
    return circuits * sum(s.number * (1 + o) for s, o in zip(each, others, strict=True))
