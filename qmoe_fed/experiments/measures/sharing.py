"""The ways of sharing a mixture that are compared, each run once and scored alike.

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
from qmoe_fed.federated import Federation, State
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.training import score_clients
from qmoe_fed.federated.unseen import fit_few
from qmoe_fed.learning import train
from qmoe_fed.learning.replicas import expand, row_of
from qmoe_fed.learning.routing import imbalance, mutual_information
from qmoe_fed.models import Parameters
from qmoe_fed.results.summary import spread

TUNING_SHARE = 5
"""Local fine-tuning takes the last fifth of the rounds."""


def shared(settings: Mapping[str, Scalar], sharing: str, data_dir: str = "") -> Measured:
    """Run one way of sharing with one seed.

    Args:
        settings: The task, the router and the hyper-parameters; ``share`` is not used.
        sharing: A name in ``METHODS``.
        data_dir: Folder of the image datasets; empty to download them.

    Returns:
        One row: ``accuracy``, ``std`` and ``worst10`` over clients on their own test samples;
        ``unseen``, the mean accuracy of clients that took no part, given 8 labelled samples each;
        ``bytes_up`` of one client in one round; ``entropy``, ``class_information`` and
        ``client_information`` in bits, ``max_load`` and ``dead_experts``, see
        ``qmoe_fed.learning.routing``.

    Raises:
        UserError: The task cannot be made.
    """
    config = Config.from_flat({**settings, "data-dir": data_dir})
    return Measured([{"seed": config.federation.seed, **METHODS[sharing](config)}])


@dataclass(frozen=True)
class Clients:
    """The clients of a run, those that never take part (``newcomers``), and their samples."""

    model: Model
    data: ClientData
    unseen: ClientData
    ids: range
    newcomers: range

    @classmethod
    def of(cls, config: Config, share: str = "router") -> "Clients":
        """Return the clients of a run that shares what ``share`` says.

        Raises:
            UserError: The run's clients are devices that differ.
        """
        model, first = Model(_sharing(config, share)), config.federation.num_clients
        if model.devices([0]) or len(config.model.depths) > 1:
            raise UserError(
                "ways of sharing are compared on devices that are alike: a noise-strength or "
                "readout-error of each client, shots and a range of layers are for federations"
            )
        newcomers = range(first, first + config.federation.num_unseen_clients)
        projection = fit_projection(config)
        data = load_clients(config, range(first), projection)
        unseen = load_clients(config, newcomers, projection)
        return cls(model, data, unseen, range(first), newcomers)

    def train(self, start: Parameters, trainable: Sequence[str], rounds: range) -> Parameters:
        """Return the parameters after every client trained by itself for some rounds."""
        return _train(self.model, start, trainable, self.data.train, self.ids, rounds)

    def outcome(
        self,
        final: Parameters,
        newcomers: Parameters,
        fitted: Sequence[str] = (),
        sent: Parameters | None = None,
    ) -> Row:
        """Score clients with their final parameters, and newcomers after fitting some of theirs.

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


def federate(config: Config, share: str, rounds: int) -> State:
    """Return the state of a federation that shares what ``share`` says, after some rounds."""
    federation = Federation(_sharing(config, share))
    state = federation.init()
    for _ in range(rounds):
        state, _ = federation.round(state)
    return state


def _sharing(config: Config, share: str) -> Config:
    return replace(config, federation=replace(config.federation, share=share))


def _federated(share: str, config: Config) -> Row:
    """Newcomers keep what is shared and fit the rest."""
    state, clients = federate(config, share, _rounds(config).stop - 1), Clients.of(config, share)
    model, newcomers = clients.model, clients.newcomers
    assert state.kept is not None
    final = model.replicas(state.shared, state.kept.local, clients.ids)
    own = {**model.initial(model.names, newcomers), **expand(state.shared, len(newcomers))}
    return clients.outcome(final, own, model.local, state.shared)


def _tuned(config: Config) -> Row:
    """Federated averaging, whose model every client then trains on alone; so do newcomers."""
    rounds = config.federation.num_server_rounds
    first = rounds - max(1, rounds // TUNING_SHARE)
    averaged, clients = federate(config, "all", first).shared, Clients.of(config)
    names = clients.model.names
    start = expand(averaged, len(clients.ids))
    final = clients.train(start, names, range(first + 1, rounds + 1))
    return clients.outcome(final, expand(averaged, len(clients.newcomers)), names, averaged)


def _frozen(config: Config) -> Row:
    """All clients hold the same random router, which nobody trains."""
    clients = Clients.of(config)
    model = clients.model
    router = model.initial_shared()

    def start(ids: range) -> Parameters:
        return {**expand(router, len(ids)), **model.initial(model.local, ids)}

    final = clients.train(start(clients.ids), model.local, _rounds(config))
    return clients.outcome(final, start(clients.newcomers), model.local)


def _pooled(config: Config) -> Row:
    """One model for all, trained where all samples are; batches as large as all clients' together.

    So it takes as many steps as a client does elsewhere. Newcomers take the model as it is.
    """
    clients = Clients.of(config)
    samples, count = clients.data.train, len(clients.ids)
    pool = Samples(
        samples.x[samples.mask][None], samples.y[samples.mask][None], samples.counts.sum()[None]
    )
    batch_size = config.training.batch_size * count
    model = Model(replace(config, training=replace(config.training, batch_size=batch_size)))
    start = model.initial(model.names, [0])
    final = row_of(_train(model, start, model.names, pool, [0], _rounds(config)), 0)
    return clients.outcome(expand(final, count), expand(final, len(clients.newcomers)))


METHODS: dict[str, Callable[[Config], Row]] = {
    "router": lambda config: _federated("router", config),
    "everything": lambda config: _federated("all", config),
    "experts": lambda config: _federated("experts", config),
    "nothing": lambda config: _federated("none", config),
    "everything, then fine-tuned": _tuned,
    "random router": _frozen,
    "pooled data": _pooled,
}
"""The ways of sharing, by what is shared."""


def _rounds(config: Config) -> range:
    return range(1, config.federation.num_server_rounds + 1)


def _train(
    model: Model,
    parameters: Parameters,
    trainable: Sequence[str],
    samples: Samples,
    clients: Sequence[int],
    rounds: range,
) -> Parameters:
    for number in rounds:
        task = model.task(trainable)
        parameters = train(task, parameters, samples, clients, number).parameters
    return parameters
