"""What an attacker on the server sees of clients: updates as they leave the hosts."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import Samples, fit_projection, load_clients, shape_of
from qmoe_fed.federated import Federation
from qmoe_fed.federated.build import make_mechanisms
from qmoe_fed.federated.mechanism import Mechanism, protect
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.training import train_clients
from qmoe_fed.models import Parameters


class _Tap(Mechanism):
    """The last client half: it writes down what leaves."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __deepcopy__(self, memo: dict[int, object]) -> "_Tap":
        return self

    def on_client(
        self, updates: Tensor, clients: Sequence[int], server_round: int, seed: int
    ) -> Tensor:
        self.seen.append(updates.float().double())
        return updates


def sent_in_rounds(config: Config, rounds: int) -> Tensor:
    """Return what all clients sent in the first rounds of a federation, ``(T, C, P)``.

    Raises:
        UserError: The settings cannot work.
    """
    federation, tap = Federation(config), _Tap()
    federation.host = replace(federation.host, mechanisms=(*federation.host.mechanisms, tap))
    state = federation.init()
    for _ in range(rounds):
        state, _ = federation.round(state)
    return torch.stack(tap.seen)


def crowd(config: Config, clients: int) -> Config:
    """Return a run with so many clients and none unseen, otherwise the same."""
    federation = replace(config.federation, num_clients=clients, num_unseen_clients=0)
    return replace(config, federation=federation)


def samples_of(config: Config, clients: Sequence[int]) -> Samples:
    """Return the training samples of some clients of a run, one row each."""
    return load_clients(config, clients, fit_projection(config)).train


def class_shares(config: Config) -> Tensor:
    """Return the share of each class among the training samples of clients, ``(C, classes)``."""
    samples = samples_of(config, range(config.federation.num_clients))
    one_hot = torch.nn.functional.one_hot(samples.y, shape_of(config).classes)
    return (one_hot * samples.mask[..., None]).sum(1) / samples.counts[:, None].double()


def sent_by(
    config: Config, samples: Samples, clients: Sequence[int], shared: Parameters | None = None
) -> Tensor:
    """Return what clients with given samples send in the first round, ``(k, P)``.

    Their own parameters start as those of the clients with these ids do, so that an attacker who
    does not know a client's experts tries those of others.

    Args:
        config: The run.
        samples: One row per client.
        clients: An id per row, also above the number of clients.
        shared: Shared parameters, ``(*shape)`` each; those of the start if None.
    """
    model, data = Model(config), load_clients(config, [0], fit_projection(config))
    data = replace(data, train=samples)
    start = model.initial_shared() if shared is None else shared
    own = model.initial(model.local, clients)
    updates = train_clients(model, data, start, own, clients, 1).updates.cpu()
    seed = config.federation.seed
    return protect(make_mechanisms(config), updates, clients, 1, seed).float().double()
