"""Ways of sharing a mixture, each run once and scored alike.

What is federated is a ``Federation``; what is not trains the same clients with the same trainer.
Every client takes the same number of steps on the same samples: ``num-server-rounds`` times
``local-epochs`` passes, its optimiser reset with every round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from qmoe_fed.config import Config
from qmoe_fed.config.settings import Scalar
from qmoe_fed.data import ClientData, Samples, fit_projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Measured, Row
from qmoe_fed.experiments.measures.personal import adapt, adapted_loss, attached, logistic
from qmoe_fed.federated import Federation, State
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.training import score_clients
from qmoe_fed.federated.unseen import fit_few
from qmoe_fed.learning import Task, train
from qmoe_fed.learning.replicas import expand, row_of
from qmoe_fed.learning.routing import imbalance, mutual_information
from qmoe_fed.models import Parameters
from qmoe_fed.results.summary import spread

TUNING_SHARE = 5
"""Local fine-tuning takes the last fifth of the rounds."""


def shared(
    settings: Mapping[str, Scalar], method: str, data_dir: str = "", **options: float
) -> Measured:
    """Run one way of sharing with one seed.

    Args:
        settings: The task, the router, what is shared and the hyper-parameters.
        method: A name in ``METHODS``.
        data_dir: Folder of the image datasets; empty to download them.
        options: Keyword arguments of the method.

    Returns:
        One row: ``accuracy``, ``std`` and ``worst10`` over clients on their own test samples;
        ``unseen``, the mean accuracy of clients that took no part, given the labelled samples of
        ``unseen-samples``; ``bytes_up`` of one client in one round; but for models without a
        router ``entropy``, ``class_information`` and ``client_information`` in bits, ``max_load``
        and ``dead_experts``, see ``qmoe_fed.learning.routing``.

    Raises:
        UserError: The task cannot be made.
    """
    config = Config.from_flat({**settings, "data-dir": data_dir})
    return Measured([{"seed": config.federation.seed, **METHODS[method](config, **options)}])


@dataclass(frozen=True)
class Clients:
    """The clients of a run, those that never take part (``newcomers``), and their samples."""

    model: Model
    data: ClientData
    unseen: ClientData
    ids: range
    newcomers: range

    @classmethod
    def of(cls, config: Config) -> "Clients":
        """Return the clients of a run.

        Raises:
            UserError: They are devices that differ.
        """
        model, first = Model(config), config.federation.num_clients
        if model.devices([0]) or len(config.model.depths) > 1:
            raise UserError(
                "ways of sharing are compared on devices that are alike: a noise-strength or "
                "readout-error of each client, shots and a range of layers are for federations"
            )
        newcomers = config.federation.unseen_clients
        projection = fit_projection(config)
        data = load_clients(config, range(first), projection)
        unseen = load_clients(config, newcomers, projection)
        return cls(model, data, unseen, range(first), newcomers)

    def train(self, task: Task, start: Parameters, rounds: range) -> Parameters:
        """Return the parameters after every client trained by itself for some rounds."""
        return _train(task, start, self.data.train, self.ids, rounds)

    def outcome(
        self,
        final: Parameters,
        newcomers: Parameters,
        fitted: Sequence[str] = (),
        sent: Parameters | None = None,
    ) -> Row:
        """Score clients with their final parameters, and newcomers after fitting some of theirs.

        Experts that are solved are solved on all that a client or a newcomer has.

        Args:
            final: Of the clients, ``(k, *shape)`` each.
            newcomers: Of the newcomers, before they fit any.
            fitted: Names of the parameters that newcomers fit.
            sent: What a client sends in a round, ``(*shape)`` each.
        """
        scores, load, entropy = score_clients(self.model, self.data, {}, final, self.ids)
        (by_size,) = fit_few(self.model, self.unseen, [newcomers], fitted, self.newcomers)
        (unseen,) = by_size.values()
        accuracy = spread(scores.accuracy)
        return {
            "accuracy": accuracy["mean"],
            "std": accuracy["std"],
            "worst10": accuracy["worst10"],
            "unseen": float(unseen.mean()),
            "bytes_up": sum(values.nbytes for values in (sent or {}).values()),
            "class_information": mutual_information(load.mean(0)),
            **vars(imbalance(load.sum(-1), entropy)),
        }


def federate(config: Config, rounds: int) -> State:
    """Return the state of a federation after some rounds."""
    federation = Federation(config)
    state = federation.init()
    for _ in range(rounds):
        state, _ = federation.round(state)
    return state


def _federated(config: Config) -> Row:
    """What ``share`` says travels; newcomers keep it and fit the rest."""
    state, clients = federate(config, config.federation.num_server_rounds), Clients.of(config)
    model, newcomers = clients.model, clients.newcomers
    assert state.kept is not None
    own = {**model.initial(model.names, newcomers), **expand(state.shared, len(newcomers))}
    final = {**state.kept.local, **expand(state.shared, len(clients.ids))}
    return clients.outcome(final, own, model.local, state.shared)


def _tuned(config: Config) -> Row:
    """Federated averaging, whose model every client then trains on alone; so do newcomers."""
    rounds = config.federation.num_server_rounds
    first = rounds - max(1, rounds // TUNING_SHARE)
    averaged, clients = federate(config, first).shared, Clients.of(config)
    task = clients.model.task(clients.model.names)
    start = expand(averaged, len(clients.ids))
    final = clients.train(task, start, range(first + 1, rounds + 1))
    newcomers = expand(averaged, len(clients.newcomers))
    return clients.outcome(final, newcomers, clients.model.names, averaged)


def _ditto(config: Config, pull: float) -> Row:
    """Ditto: every client also trains a model of its own, pulled to the average of that round."""
    clients, federation = Clients.of(config), Federation(config)
    task = attached(clients.model.task(clients.model.names), pull)
    state = federation.init()
    own = expand(state.shared, len(clients.ids))
    for number in _rounds(config):
        average = expand(state.shared, len(clients.ids))
        own = train(task, own, clients.data.train, clients.ids, number, anchor=average).parameters
        state, _ = federation.round(state)
    newcomers = expand(state.shared, len(clients.newcomers))
    return clients.outcome(own, newcomers, clients.model.names, state.shared)


def _per_fedavg(config: Config, step: float) -> Row:
    """Per-FedAvg (first order): what is averaged is a start from which one step makes a model."""
    clients = Clients.of(config)
    model, data, count = clients.model, clients.data.train, len(clients.ids)
    task = replace(model.task(model.names), loss=adapted_loss(step))
    average = model.initial_shared()
    for number in _rounds(config):
        trained = train(task, expand(average, count), data, clients.ids, number).parameters
        average = {name: values.mean(0) for name, values in trained.items()}
    final = adapt(model.module, expand(average, count), data, step)
    few = clients.unseen.train.first(config.unseen.sample_sizes[0])
    newcomers = adapt(model.module, expand(average, len(clients.newcomers)), few, step)
    return clients.outcome(final, newcomers, (), average)


def _pooled(config: Config) -> Row:
    """One model for all, trained where all samples are; batches as large as all clients' together.

    So it takes as many steps as a client does elsewhere. Newcomers take the model as it is.
    """
    clients = Clients.of(config)
    count = len(clients.ids)
    batch_size = config.training.batch_size * count
    model = Model(replace(config, training=replace(config.training, batch_size=batch_size)))
    start, pool = model.initial(model.names, [0]), _pool(clients.data.train)
    final = row_of(_train(model.task(model.names), start, pool, [0], _rounds(config)), 0)
    return clients.outcome(expand(final, count), expand(final, len(clients.newcomers)))


def _classical(config: Config, strength: float, pooled: bool = False) -> Row:
    """Logistic regression on what experts see: one for each client and newcomer, or for all."""
    clients = Clients.of(config)
    own, few = clients.data.train, clients.unseen.train.first(config.unseen.sample_sizes[0])
    if pooled:
        own = few = _pool(own)
    parts = clients.model.module.parts
    accuracy = logistic(parts, own, clients.data.test, strength)
    newcomers = logistic(parts, few, clients.unseen.test, strength)
    found = spread(accuracy)
    row = {"accuracy": found["mean"], "std": found["std"], "worst10": found["worst10"]}
    return {**row, "unseen": float(newcomers.mean()), "bytes_up": 0}


METHODS: dict[str, Callable[..., Row]] = {
    "federated": _federated,
    "fine-tuned": _tuned,
    "ditto": _ditto,
    "per-fedavg": _per_fedavg,
    "pooled": _pooled,
    "classical": _classical,
}
"""How clients are trained, by name."""


def _rounds(config: Config) -> range:
    return range(1, config.federation.num_server_rounds + 1)


def _pool(samples: Samples) -> Samples:
    """Return the samples of all clients as those of one."""
    mask = samples.mask
    return Samples(samples.x[mask][None], samples.y[mask][None], samples.counts.sum()[None])


def _train(
    task: Task, parameters: Parameters, samples: Samples, clients: Sequence[int], rounds: range
) -> Parameters:
    for number in rounds:
        parameters = train(task, parameters, samples, clients, number).parameters
    return parameters
