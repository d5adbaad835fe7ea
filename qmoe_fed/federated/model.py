"""The mixture of a run, and which of its parameters travel."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from qmoe_fed.config import Config, values
from qmoe_fed.data import Samples, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.updates import Layout
from qmoe_fed.learning import Task
from qmoe_fed.learning.devices import DRAWS, client_layers
from qmoe_fed.learning.replicas import expand
from qmoe_fed.learning.solving import Solve
from qmoe_fed.learning.trainer import mean_cross_entropy
from qmoe_fed.models import (
    Mixture,
    Parameters,
    angle_names,
    build_model,
    device_strengths,
    draw_keys,
    initial_parameters,
)
from qmoe_fed.models.routers import QuantumRouter

SHARED = {
    "router": ("router.", "fit."),
    "prior": ("router.", "fit."),
    "experts": ("experts.",),
    "all": ("",),
    "none": (),
}
"""How the names of the parameters begin that travel, by what ``share`` says."""


@contextmanager
def threads_as_before() -> Iterator[None]:
    """Give torch back the threads it had: a run takes as many as its settings say."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Model:
    """The mixture of a run, and which of its parameters travel.

    A client is a device of its own: strengths of noise and depth of its circuit are functions of
    seed and client, so that every host and the server know them and none of it travels.

    Attributes:
        config: The run.
        layers: Of the circuit; 0 is the most that a client has. All depths have the same
            parameters: a circuit of few layers reads the first angles only.
    """

    config: Config
    layers: int = 0

    @cached_property
    def module(self) -> Mixture:
        """A module for one client; its own parameters are never used."""
        device = self.config.training.device
        if device != "cpu" and torch.cuda.device_count() <= values.device(device):
            found = torch.cuda.device_count() or "no"
            raise UserError(f"device = {device!r}: torch finds {found} GPU here; use 'cpu'")
        torch.set_num_threads(self.config.training.threads)
        return self._build().to(device)

    def _build(self) -> Mixture:
        shape = shape_of(self.config)
        return build_model(
            self.config.model, shape.features, shape.classes, self.layers, shape.inputs
        )

    @cached_property
    def _by_layers(self) -> "dict[int, Model]":
        depths = self.config.model.depths
        return {n: replace(self, layers=n) if len(depths) > 1 else self for n in depths}

    def by_depth(self, clients: Sequence[int]) -> "list[tuple[Model, list[int]]]":
        """Return clients by the depth of their circuits, each with the model that they run."""
        groups: dict[int, list[int]] = {}
        for client, layers in zip(clients, client_layers(self.config, clients), strict=True):
            groups.setdefault(layers, []).append(client)
        return [(self._by_layers[layers], groups[layers]) for layers in sorted(groups)]

    def trained_by(self, clients: Sequence[int]) -> Tensor:
        """Return which of the shared numbers clients train, ``(C, P)``: layers that they have."""
        trained = torch.ones(len(clients), self.layout.size, dtype=torch.bool)
        if "router.theta" in self.shared:
            place = self.layout.names.index("router.theta")
            of_theta = trained.split(self.layout.sizes, 1)[place]  # a view
            for row, layers in enumerate(client_layers(self.config, clients)):
                of_theta[row, self._by_layers[layers].angles_read :] = False
        return trained

    @cached_property
    def angles_read(self) -> int:
        """How many of θ the circuit of this depth reads; 0 without a circuit."""
        router = self.module.router
        return router.circuit.parameters if isinstance(router, QuantumRouter) else 0

    @cached_property
    def solve(self) -> Solve | None:
        """How experts are solved, if they are."""
        config, shape = self.config, shape_of(self.config)
        if config.training.expert_fit == "gradient":
            return None
        return Solve(
            config.model.num_experts,
            shape.inputs or shape.features,
            shape.classes,
            config.federation.share == "prior",
            config.training.support,
            config.training.batch_size,
            config.training.ridge,
        )

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what is trained, in order: no frozen router, no experts that are solved."""
        parameters = {name: tuple(p.shape) for name, p in self.module.named_parameters()}
        left_out = ["router."] * (self.config.training.freeze == "router")
        if self.solve:
            parameters |= {n: tuple(v.shape[1:]) for n, v in self.solve.initial(1).items()}
            left_out.append("experts.")
        return {n: s for n, s in parameters.items() if not n.startswith(tuple(left_out))}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that clients train, in order."""
        return tuple(self._shapes)

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """Names of the parameters that travel, as ``share`` says."""
        prefixes = SHARED[self.config.federation.share]
        return tuple(name for name in self.names if name.startswith(prefixes))

    @cached_property
    def local(self) -> tuple[str, ...]:
        """Names of the parameters that stay with the client."""
        return tuple(name for name in self.names if name not in self.shared)

    @cached_property
    def angles(self) -> frozenset[str]:
        """Names of the parameters that are angles."""
        return angle_names(self.module)

    @cached_property
    def layout(self) -> Layout:
        """How the shared parameters lie in a vector."""
        return Layout({name: self._shapes[name] for name in self.shared}, self.angles)

    @property
    def max_update_norm(self) -> float:
        """The longest update that counts (L2), unless the settings say: 100, or 10 √P."""
        return self.config.strategy.max_update_norm or max(100.0, 10 * self.layout.size**0.5)

    def initial(self, names: Sequence[str], clients: Sequence[int]) -> Parameters:
        """Return the initial values of some parameters, one row per client."""
        if not names:
            return {}
        full = initial_parameters(self._build, self.config.federation.seed, clients, names)
        if self.solve:
            full |= self.solve.initial(len(clients))
        return {name: full[name].to(self.config.training.device) for name in names}

    def initial_shared(self) -> Parameters:
        """Return the shared parameters before the first round, ``(*shape)`` each."""
        return {name: values[0] for name, values in self.initial(self.shared, [0]).items()}

    @cached_property
    def frozen(self) -> Parameters:
        """The router that all clients hold and nobody trains, ``(*shape)`` each; or nothing."""
        if self.config.training.freeze == "none":
            return {}
        router = [n for n, _ in self.module.named_parameters() if n.startswith("router.")]
        return {name: values[0] for name, values in self.initial(router, [0]).items()}

    def replicas(
        self,
        shared: Parameters,
        local: Parameters,
        clients: Sequence[int],
        server_round: int = 0,
    ) -> Parameters:
        """Return all that the replicas of some clients run with, ``(k, *shape)`` each.

        A frozen router and what their devices are come with their parameters; they are never
        trained, stored or sent.

        Args:
            shared: Shared parameters, ``(*shape)`` each.
            local: The clients' own parameters, ``(k, *shape)`` each.
            clients: Their ids.
            server_round: The round, as devices may drift.
        """
        own = {**local, **self.devices(clients, server_round)}
        return {**expand({**self.frozen, **shared}, len(clients)), **own}

    def mixtures(self, parameters: Parameters, samples: Samples) -> Parameters:
        """Return the parameters of clients' mixtures: their experts solved, if they are solved.

        Args:
            parameters: As ``replicas`` returns them.
            samples: What the clients' experts are solved on.
        """
        if not self.solve:
            return parameters
        self.module.eval()  # as they will be used
        execution = self.config.training.execution
        return self.solve.mixtures(self.module, parameters, samples, execution)

    def devices(self, clients: Sequence[int], server_round: int = 0) -> Parameters:
        """Return what the devices of some clients are, by name of the module's buffers.

        Finite shots have keys for an evaluation, the same after every round; training replaces
        them step by step.
        """
        seed = self.config.federation.seed
        buffers = device_strengths(self.config.model, seed, clients, server_round)
        if self.config.model.shots:
            keys = draw_keys(seed, clients, step=-1)
            parts = self.config.model.quantum
            buffers |= {name: keys for name in DRAWS if name.startswith(parts)}
        return {name: rows.to(self.config.training.device) for name, rows in buffers.items()}

    def task(self, trainable: Sequence[str]) -> Task:
        """Return the training task for some of the parameters."""
        return Task(
            self.module,
            frozenset(trainable),
            self.config.training,
            self.config.federation.seed,
            frozenset(self.shared),
            self.solve.loss if self.solve else mean_cross_entropy,
        )
