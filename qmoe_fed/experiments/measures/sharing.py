"""The ways of sharing a mixture that are compared, each run once and scored alike.

What is federated is a ``Federation``; what is not trains the same clients with the same trainer.
Every client takes the same number of steps on the same samples: ``num-server-rounds`` times
``local-epochs`` passes, its optimiser reset with every round.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar
from qmoe_fed.data import ClientData, Samples, fit_projection, load_clients
from qmoe_fed.experiments.cells import Measured, Row
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
from qmoe_fed.results import load_run
from qmoe_fed.results.summary import spread
from strategies import from_config, make_mechanisms

TUNING_SHARE = 5
"""Local fine-tuning takes the last fifth of the rounds."""


def shared(settings: Mapping[str, Scalar], sharing: str, data_dir: str = "") -> Measured:
    """Run one way of sharing with one seed.

    Args:
        settings: The task, the router and the hyper-parameters; ``share`` is not used.
        sharing: A name in ``METHODS``.
        data_dir: Folder of the image datasets; empty to download them.

    Returns:
        One row: ``seed``; ``accuracy``, ``std`` and ``worst10`` over clients on their own test
        samples; ``unseen``, the mean accuracy of clients that took no part, given 8 labelled
        samples each; ``bytes_up`` of one client in one round; ``entropy``, ``class_information``
        and ``client_information`` in bits, ``max_load`` and ``dead_experts``, see
        ``qmoe_fed.learning.routing``.

    Raises:
        UserError: The task cannot be made.
    """
    given = {"data-dir": data_dir} if data_dir else {}
    config = Config.from_flat({**settings, **given})
    return Measured([{"seed": config.federation.seed, **METHODS[sharing](config)}])


@dataclass(frozen=True)
class Federated:
    """What a federation came to: the outcome as a row, and its shared parameters."""

    row: Row
    shared: Parameters


def federate(config: Config, share: str, rounds: int = 0) -> Federated:
    """Run a federation that shares what ``share`` says.

    Newcomers keep what is shared and fit the rest.
    """
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
        run = load_run(run_federation(grid, Config.from_flat(settings), from_config))
    summary = run.summary
    kind = "scratch" if share == "none" else "shared"
    names = ("entropy", "class_information", "client_information", "max_load", "dead_experts")
    row = {
        **{name: summary[f"accuracy_{key}"] for name, key in _SPREAD.items()},
        "unseen": summary[f"unseen_accuracy_{kind}"],
        "bytes_up": summary["bytes_up_per_client_round"],
        **{name: summary[f"routing_{name}"] for name in names},
    }
    return Federated(row, run.shared)


_SPREAD = {"accuracy": "mean", "std": "std", "worst10": "worst10"}


def _tuned(config: Config) -> Row:
    """Federated averaging, whose model every client then trains on alone; so do newcomers."""
    rounds = config.federation.num_server_rounds
    last = max(1, rounds // TUNING_SHARE)
    averaged = federate(config, "all", rounds - last)
    clients = _Clients.of(config)
    start = expand(averaged.shared, len(clients.ids))
    final = clients.train(start, clients.model.names, range(rounds - last + 1, rounds + 1))
    newcomers = expand(averaged.shared, len(clients.newcomers))
    return clients.outcome(final, newcomers, clients.model.names, averaged.row["bytes_up"])


def _frozen(config: Config) -> Row:
    """All clients hold the same random router, which nobody trains."""
    clients = _Clients.of(config)
    model = clients.model
    experts = [name for name in model.names if name not in model.shared]
    router = row_of(model.initial(model.shared, [0]), 0)

    def start(ids: range) -> Parameters:
        return {**expand(router, len(ids)), **model.initial(experts, ids)}

    rounds = range(1, config.federation.num_server_rounds + 1)
    final = clients.train(start(clients.ids), experts, rounds)
    return clients.outcome(final, start(clients.newcomers), experts)


def _pooled(config: Config) -> Row:
    """One model for all, trained where all samples are; batches as large as all clients' together.

    So it takes as many steps as a client does elsewhere. Newcomers take the model as it is.
    """
    clients = _Clients.of(config)
    samples, count = clients.data.train, len(clients.ids)
    pool = Samples(
        samples.x[samples.mask][None], samples.y[samples.mask][None], samples.counts.sum()[None]
    )
    batch_size = config.training.batch_size * count
    together = Model(replace(config, training=replace(config.training, batch_size=batch_size)))
    rounds = range(1, config.federation.num_server_rounds + 1)
    start = together.initial(together.names, [0])
    final = row_of(_train(together, start, together.names, pool, [0], rounds), 0)
    return clients.outcome(expand(final, count), expand(final, len(clients.newcomers)), ())


METHODS: dict[str, Callable[[Config], Row]] = {
    "router": lambda config: federate(config, "router").row,
    "everything": lambda config: federate(config, "all").row,
    "experts": lambda config: federate(config, "experts").row,
    "nothing": lambda config: federate(config, "none").row,
    "everything, then fine-tuned": _tuned,
    "random router": _frozen,
    "pooled data": _pooled,
}
"""The ways of sharing, by what is shared."""


@dataclass(frozen=True)
class _Clients:
    """The clients of a run, for what is no federation."""

    model: Model
    data: ClientData
    unseen: ClientData
    ids: range
    newcomers: range

    @classmethod
    def of(cls, config: Config) -> "_Clients":
        federation = replace(config.federation, share="router")
        config = replace(config, federation=federation)
        first = federation.num_clients
        ids, newcomers = range(first), range(first, first + federation.num_unseen_clients)
        projection = fit_projection(config)
        data = load_clients(config, ids, projection)
        unseen = load_clients(config, newcomers, projection)
        return cls(Model(config), data, unseen, ids, newcomers)

    def train(self, start: Parameters, trainable: Sequence[str], rounds: range) -> Parameters:
        """Train every client by itself for some rounds."""
        return _train(self.model, start, trainable, self.data.train, self.ids, rounds)

    def outcome(
        self,
        final: Parameters,
        newcomers: Parameters,
        fitted: Sequence[str],
        bytes_up: Scalar | None = 0.0,
    ) -> Row:
        """Score clients with their final parameters, and newcomers after fitting some of theirs."""
        scores, load, entropy = score_clients(self.model, self.data, {}, final)
        (unseen,) = fit_few(self.model, self.unseen, [newcomers], fitted, self.newcomers)
        accuracy = spread(scores.accuracy)
        return {
            **{name: accuracy[key] for name, key in _SPREAD.items()},
            "unseen": _only(unseen),
            "bytes_up": bytes_up,
            "class_information": mutual_information(load.mean(0)),
            **vars(imbalance(load.sum(-1), entropy)),
        }


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
