"""One SuperNode: which clients live on it, their data, and what it keeps of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from flwr.app import ArrayRecord, Context
from torch import Tensor

from qmoe_fed.config import Config
from qmoe_fed.data import ClientData, Projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.federated.host import Model
from qmoe_fed.federated.records import to_record, to_tensors
from qmoe_fed.learning.replicas import rows_of
from qmoe_fed.models import Parameters

LOCAL, OPTIMIZER, SETUP = "local", "optimizer", "setup"


@dataclass(frozen=True)
class SuperNode:
    """What a handler sees of its SuperNode: the clients that live here and what is kept of them.

    Attributes:
        context: Flower's context of this SuperNode in this run.
    """

    context: Context

    @cached_property
    def config(self) -> Config:
        """The settings of the run."""
        return Config.from_flat(self.context.run_config)

    @property
    def partition(self) -> int:
        """Number of this SuperNode, 0 … partitions - 1."""
        return int(self._place("partition-id"))

    @property
    def partitions(self) -> int:
        """Number of SuperNodes in the federation."""
        return int(self._place("num-partitions"))

    def _place(self, key: str) -> Any:
        if key not in self.context.node_config:
            raise UserError(
                f"this SuperNode has no {key}; start it with "
                '--node-config "partition-id=0 num-partitions=2" (0 and 2 as the case may be)'
            )
        return self.context.node_config[key]

    @property
    def clients(self) -> range:
        """Ids of the training clients that live here, ascending."""
        return range(self.partition, self.config.federation.num_clients, self.partitions)

    @property
    def model(self) -> Model:
        """The model of the run."""
        return _model(self.config)

    def rows(self, clients: Sequence[int]) -> Tensor | slice:
        """Return the rows of clients among those that live here."""
        if len(clients) == len(self.clients):
            return slice(None)
        return (torch.tensor(clients) - self.partition) // self.partitions

    def data(self, clients: Sequence[int]) -> ClientData:
        """Return the samples of clients that live here."""
        setup = self.context.state.array_records[SETUP]
        projection = Projection.from_dict({name: a.numpy() for name, a in setup.items()})
        if clients[0] in self.clients:
            return _data(self.config, self.clients, projection).select(self.rows(clients))
        return _data(self.config, tuple(clients), projection)

    @property
    def local(self) -> Parameters:
        """Parameters that stay here, one row per hosted client."""
        if LOCAL not in self.context.state:
            return self.model.initial(self.model.local, self.clients)
        return self.tensors(self.context.state.array_records[LOCAL])

    def optimizer_state(self, rows: Tensor | slice) -> Parameters | None:
        """Return the stored optimiser state of some clients, or None if none is stored yet."""
        if OPTIMIZER not in self.context.state:
            return None
        return rows_of(self.tensors(self.context.state.array_records[OPTIMIZER]), rows)

    def keep(self, record: str, rows: Tensor | slice, values: Parameters) -> None:
        """Store new rows of a stacked record for the next message; other rows stay, or are 0."""
        if not isinstance(rows, slice):
            stored = self.local if record == LOCAL else self._all_optimizer_states(values)
            values = {
                name: stored[name].index_copy(0, rows.to(new.device), new)
                for name, new in values.items()
            }
        self.context.state[record] = to_record(values)

    def _all_optimizer_states(self, like: Parameters) -> Parameters:
        stored = self.optimizer_state(slice(None))
        if stored is not None:
            return stored
        return {
            name: values.new_zeros(len(self.clients), *values.shape[1:])
            for name, values in like.items()
        }

    def tensors(self, record: ArrayRecord) -> Parameters:
        """Return the arrays of a record as tensors on the device of the run."""
        device = self.config.training.device
        return {name: values.to(device) for name, values in to_tensors(record).items()}


@lru_cache(maxsize=8)
def _model(config: Config) -> Model:
    return Model(config)


@lru_cache(maxsize=8)
def _data(config: Config, clients: Sequence[int], projection: Projection) -> ClientData:
    """Return the samples of clients, made once per process."""
    return load_clients(config, clients, projection).to(config.training.device)
