"""The ways of sharing that are compared, each run once and scored alike.

What is federated runs through the in-process grid, message by message; what is not trains the same
clients with the same trainer. Every client takes the same number of steps on the same samples:
``num-server-rounds`` times ``local-epochs`` passes, its optimiser reset with every round.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import ClientData, Samples, fit_projection, load_clients
from qmoe_fed.federated import client_app
from qmoe_fed.federated.direct_grid import task_identity
from qmoe_fed.federated.host import Model, score_clients
from qmoe_fed.federated.local_grid import LocalGrid
from qmoe_fed.federated.server import run_federation
from qmoe_fed.federated.unseen import fit_few
from qmoe_fed.learning import train
from qmoe_fed.learning.replicas import expand, row_of
from qmoe_fed.learning.routing import imbalance, mutual_information
from qmoe_fed.models import Parameters
from qmoe_fed.results import Run, load_run
from qmoe_fed.results.summary import spread
from strategies import from_config, make_mechanisms

TUNING_SHARE = 5
"""Local fine-tuning takes the last fifth of the rounds."""


@dataclass(frozen=True)
class Outcome:
    """How one way of sharing does on one task with one seed, after the last round.

    Attributes:
        accuracy: Mean over clients of the accuracy on their own test samples.
        std: Standard deviation of it over clients.
        worst10: Mean of it over the worst 10% of clients.
        unseen: Mean accuracy of clients that took no part, given 8 labelled samples each.
        bytes_up: Bytes of parameters that one client sends in one round.
        entropy: Mean routing entropy, bits.
        class_information: What the expert tells about the class, bits.
        client_information: What the expert tells about the client, bits.
        max_load: Load of the expert used most.
        dead_experts: Number of experts with less than a tenth of an equal load.
    """

    accuracy: float
    std: float
    worst10: float
    unseen: float
    bytes_up: float
    entropy: float
    class_information: float
    client_information: float
    max_load: float
    dead_experts: int


def run(config: Config, sharing: str) -> Outcome:
    """Run one way of sharing.

    Args:
        config: The task, the router and the hyper-parameters; its ``share`` is not used.
        sharing: A name in ``METHODS``.

    Raises:
        UserError: The task cannot be made.
    """
    return METHODS[sharing](config)


def _federated(config: Config, share: str) -> Outcome:
    """Share what ``share`` says; newcomers keep what is shared and fit the rest."""
    summary = _federate(config, share).summary
    kind = "scratch" if share == "none" else "shared"
    return Outcome(
        accuracy=summary["accuracy_mean"],
        std=summary["accuracy_std"],
        worst10=summary["accuracy_worst10"],
        unseen=summary[f"unseen_accuracy_{kind}"],
        bytes_up=summary["bytes_up_per_client_round"],
        **_routing(summary),
    )


def _routing(summary: dict[str, Any]) -> dict[str, Any]:
    names = ("entropy", "class_information", "client_information", "max_load", "dead_experts")
    return {name: summary[f"routing_{name}"] for name in names}


def _federate(config: Config, share: str, rounds: int = 0) -> Run:
    """Run a federation in this process without a word, and open what it left."""
    with TemporaryDirectory() as folder, task_identity(), redirect_stdout(io.StringIO()):
        rounds = rounds or config.federation.num_server_rounds
        settings = {
            **config.to_flat(),
            "share": share,
            "num-server-rounds": rounds,
            "evaluate-every": rounds,
            "figures": False,
            "output-dir": folder,
        }
        grid = LocalGrid(client_app(make_mechanisms), settings)
        return load_run(run_federation(grid, Config.from_flat(settings), from_config))


def _tuned(config: Config) -> Outcome:
    """Federated averaging, whose model every client then trains on alone; so do newcomers."""
    rounds = config.federation.num_server_rounds
    last = max(1, rounds // TUNING_SHARE)
    averaged = _federate(config, "all", rounds - last)
    study = _Study.of(config)
    start = expand(averaged.shared, len(study.clients))
    final = study.train(start, study.model.names, range(rounds - last + 1, rounds + 1))
    newcomers = expand(averaged.shared, len(study.newcomers))
    sent = averaged.summary["bytes_up_per_client_round"]
    return study.outcome(final, newcomers, study.model.names, sent)


def _frozen(config: Config) -> Outcome:
    """All clients hold the same random router, which nobody trains."""
    study = _Study.of(config)
    model = study.model
    experts = [name for name in model.names if name not in model.shared]
    router = row_of(model.initial(model.shared, [0]), 0)

    def start(clients: range) -> Parameters:
        return {**expand(router, len(clients)), **model.initial(experts, clients)}

    rounds = range(1, config.federation.num_server_rounds + 1)
    final = study.train(start(study.clients), experts, rounds)
    return study.outcome(final, start(study.newcomers), experts, 0.0)


def _pooled(config: Config) -> Outcome:
    """One model for all, trained where all samples are; batches as large as all clients' together.

    So it takes as many steps as a client does elsewhere. Newcomers take the model as it is.
    """
    study = _Study.of(config)
    samples, clients = study.data.train, len(study.clients)
    pool = Samples(
        samples.x[samples.mask][None], samples.y[samples.mask][None], samples.counts.sum()[None]
    )
    batch_size = config.training.batch_size * clients
    together = replace(config, training=replace(config.training, batch_size=batch_size))
    rounds = range(1, config.federation.num_server_rounds + 1)
    model = study.model
    trained = _train(
        Model(together), model.initial(model.names, [0]), model.names, pool, [0], rounds
    )
    final = row_of(trained, 0)
    newcomers = expand(final, len(study.newcomers))
    return study.outcome(expand(final, clients), newcomers, (), 0.0)


METHODS: dict[str, Callable[[Config], Outcome]] = {
    "router": lambda config: _federated(config, "router"),
    "everything": lambda config: _federated(config, "all"),
    "experts": lambda config: _federated(config, "experts"),
    "nothing": lambda config: _federated(config, "none"),
    "everything, then fine-tuned": _tuned,
    "random router": _frozen,
    "pooled data": _pooled,
}
"""The ways of sharing, by what is shared."""


@dataclass(frozen=True)
class _Study:
    """The clients of a run, for what does not go through a federation."""

    model: Model
    data: ClientData
    unseen: ClientData
    clients: range
    newcomers: range

    @classmethod
    def of(cls, config: Config) -> "_Study":
        federation = replace(config.federation, share="router")
        config = replace(config, federation=federation)
        first = federation.num_clients
        clients, newcomers = range(first), range(first, first + federation.num_unseen_clients)
        projection = fit_projection(config)
        data = load_clients(config, clients, projection)
        unseen = load_clients(config, newcomers, projection)
        return cls(Model(config), data, unseen, clients, newcomers)

    def train(self, start: Parameters, trainable: Sequence[str], rounds: range) -> Parameters:
        """Train every client by itself for some rounds."""
        return _train(self.model, start, trainable, self.data.train, self.clients, rounds)

    def outcome(
        self, final: Parameters, newcomers: Parameters, fitted: Sequence[str], bytes_up: float
    ) -> Outcome:
        """Score clients with their final parameters, and newcomers after fitting some of theirs."""
        scores, load, entropy = score_clients(self.model, self.data, {}, final)
        (unseen,) = fit_few(self.model, self.unseen, [newcomers], fitted, self.newcomers)
        accuracy = spread(scores.accuracy)
        return Outcome(
            accuracy=accuracy["mean"],
            std=accuracy["std"],
            worst10=accuracy["worst10"],
            unseen=_only(unseen),
            bytes_up=bytes_up,
            class_information=mutual_information(load.mean(0)),
            **vars(imbalance(load.sum(-1), entropy)),
        )


def _train(
    model: Model,
    start: Parameters,
    trainable: Sequence[str],
    samples: Samples,
    clients: Sequence[int],
    rounds: range,
) -> Parameters:
    parameters = start
    for server_round in rounds:
        trained = train(model.task(trainable), parameters, samples, clients, server_round)
        parameters = trained.parameters
    return parameters


def _only(by_size: dict[int, Tensor]) -> float:
    (accuracy,) = by_size.values()
    return float(accuracy.mean())
