"""Opens the directory of a finished run: what was asked, what came out, the trained mixtures.

::

    load_run("runs/my-run").predict(client=3, x=[[0.5, 0.25]])
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qmoe_fed.config import Config
from qmoe_fed.config.settings import expanded
from qmoe_fed.data import RAW, ClientData, Projection, load_clients, not_raw, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.learning.devices import client_layers
from qmoe_fed.learning.routing import ROUTER
from qmoe_fed.models import Mixture, Parameters, build_model, device_strengths
from qmoe_fed.results.content import read_columns, read_run
from qmoe_fed.results.forms import check_clients, check_tensors, damaged
from qmoe_fed.results.run_directory import read_tensors
from qmoe_fed.results.tables import frame

if TYPE_CHECKING:  # takes longer to import than all the rest, and drawing a run does not need it
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
        path: Its directory.
        config: Its settings.
        summary: The content of ``summary.json``.
        records: The lines of ``metrics.jsonl``.
        projection: Turns raw inputs into angles.
        shared: Parameters all clients share, ``(*shape)`` each.
    """

    path: Path
    config: Config
    summary: dict[str, Any]
    records: list[dict[str, Any]] = field(repr=False)
    projection: Projection = field(repr=False)
    shared: Parameters = field(repr=False)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open the directory of a finished run.

        Raises:
            UserError: It is not the directory of a run, or the run has not come to its end.
        """
        path = expanded("run", path)
        return cls(path, *read_run(path))

    @cached_property
    def rounds(self) -> "pd.DataFrame":
        """The ``records`` as a frame, a row per round; its columns are named as accuracy-mean."""
        from pandas import json_normalize

        return json_normalize(self.records, sep="-")

    @cached_property
    def clients(self) -> "pd.DataFrame":
        """Final metrics of the clients, a row each; ``client`` holds their ids."""
        total = self.config.federation.num_clients
        names = "accuracy", "loss", *(f"load-{i}" for i in range(self.config.model.num_experts))
        own = sorted(self.path.glob("experts/clients-*.json"))  # where scores stay with the hosts
        parts = [read_columns(file, names, range(total)) for file in own]
        if len({client for part in parts for client in part["client"]}) < total:
            parts = [read_columns(self.path / "clients.json", names, range(total))]
        return frame(*parts)

    @cached_property
    def unseen(self) -> "pd.DataFrame":
        """Accuracies of the unseen clients, by router and samples; empty if there were none.

        Column ``shared-8`` is that of a client with the shared router and 8 labelled samples.
        """
        settings, scores = self.config, self.summary["unseen"]
        names = [f"{kind}-{m}" for kind in scores for m in settings.unseen.sample_sizes]
        clients = settings.federation.unseen_clients
        return frame(read_columns(self.path / "unseen.json", names, clients) if scores else {})

    @cached_property
    def local(self) -> Parameters:
        """What clients keep to themselves, ``(k, *shape)`` each, as far as hosts saved it here.

        ``clients`` holds their ids, ``(k,)``.
        """
        files = sorted((self.path / "experts").glob("host-*.safetensors"))
        parts = [read_tensors(file) for file in files]
        if not parts:
            return {}
        own = {name: like for name, like in self._like.items() if name not in self.shared}
        more = {n: v for n, v in parts[0].items() if n not in own and v.dim() and len(v)}
        own |= {name: values[0] for name, values in more.items()}
        own.setdefault("clients", torch.tensor(0))
        for file, part in zip(files, parts, strict=True):
            rows = check_clients(file, part, self.config.federation.num_clients)
            check_tensors(file, part, own, rows)
        order = (clients := torch.cat([part["clients"] for part in parts])).argsort()
        if len(clients.unique()) < len(clients):
            raise damaged(self.path / "experts", "two of its files have the same clients")
        return {name: torch.cat([part[name] for part in parts])[order] for name in own}

    @cached_property
    def model(self) -> Mixture:
        """A module for one client; its own parameters are not the trained ones.

        It has exact probabilities where the run had shots, and no noise where clients had theirs.
        """
        shape, projection, model = shape_of(self.config), self.projection, self._build()
        inputs = projection.gain.shape[-1] if projection.gain.ndim == 2 else len(projection.mean)
        seen = len(projection.low), inputs if projection.gain.size else 0
        if seen != (shape.features, shape.inputs):
            told = f"it makes {seen} angles and inputs, the settings say {shape}"
            raise damaged(self.path / "projection.safetensors", told)
        like = {name: v for name, v in model.named_parameters() if name in self.shared}
        check_tensors(self.path / "shared.safetensors", self.shared, like)
        return model

    def _build(self, layers: int = 0) -> Mixture:
        shape = shape_of(self.config)
        exact = self.config.model.without_shots
        return build_model(exact, shape.features, shape.classes, layers, shape.inputs).eval()

    @cached_property
    def complete(self) -> NDArray[np.int64]:
        """Ids of the clients whose parameters are all here, ascending."""
        if self.shared.keys() >= self._like.keys():
            return np.arange(self.config.federation.num_clients)
        return np.asarray(self.local.get("clients", torch.arange(0)), np.int64)

    @cached_property
    def _like(self) -> Parameters:
        """Parameters of the shapes and types that a client's have, by name."""
        return {name: values.detach() for name, values in self.model.named_parameters()}

    def parameters(self, client: int) -> Parameters:
        """Return all parameters of one client's mixture, ``(*shape)`` each.

        Raises:
            UserError: There is no such client, or its host saved its own parameters elsewhere.
        """
        total = self.config.federation.num_clients
        if not 0 <= client < total:
            raise UserError(f"no client {client}: the run has clients 0 to {total - 1}")
        if client not in self.complete:
            raise UserError(
                f"the parameters of client {client} are not in {self.path / 'experts'}; its host "
                "saved them there on another machine: copy the files host-*.safetensors from it"
            )
        row = int(np.searchsorted(self.complete, client))
        every = {**{name: values[row] for name, values in self.local.items()}, **self.shared}
        return {name: every[name] for name in self._like}

    def predict(self, client: int, x: ArrayLike) -> NDArray[np.float32]:
        """Return a client's class probabilities, shape ``(B, C)``.

        Args:
            client: Its id.
            x: Raw inputs, as in the dataset, shape ``(B, D)``.

        Raises:
            UserError: As ``parameters``; or the inputs have the wrong shape.
        """
        model, parameters = self._device(client)
        return _output(model, parameters, self._inputs(x)).softmax(-1).numpy()

    def _device(self, client: int) -> tuple[Mixture, Parameters]:
        """Return the module of a client's own depth, and its parameters and strengths of noise."""
        parameters, config = self.parameters(client), self.config
        (layers,) = client_layers(config, [client])
        model = self._build(layers) if len(config.model.depths) > 1 else self.model
        seed, last = config.federation.seed, config.federation.num_server_rounds
        strengths = device_strengths(config.model, seed, [client], last)
        return model, {**parameters, **{name: rows[0] for name, rows in strengths.items()}}

    def routing(self, x: ArrayLike, client: int | None = None) -> NDArray[np.float32]:
        """Return the router's weights for each expert, shape ``(B, N)``.

        Args:
            x: Raw inputs, shape ``(B, D)``.
            client: Whose router, on whose device; needed where clients do not share one. None: the
                shared router without the noise and limits of any device in particular.

        Raises:
            UserError: As ``predict``; or no client is named and the router is not shared.
        """
        model, parameters = (self.model, self.shared) if client is None else self._device(client)
        if not parameters.keys() >= {name for name in self._like if name.startswith(ROUTER)}:
            raise UserError(
                "the clients of this run keep their routers to themselves; say whose is meant: "
                "routing(x, client=0)"
            )
        router = {n.removeprefix(ROUTER): v for n, v in parameters.items() if n.startswith(ROUTER)}
        return _output(model.router, router, model.parts(self._inputs(x))[0]).numpy()

    def data(self, clients: Sequence[int] | NDArray[np.int64]) -> ClientData:
        """Return the samples of some clients, made anew from the settings, as mixtures see them.

        Their ``x`` are angles; ``predict`` takes those of ``raw``.
        """
        return load_clients(self.config, np.asarray(clients).tolist(), self.projection)

    def raw(self, clients: Sequence[int] | NDArray[np.int64]) -> ClientData:
        """Return the same as ``data``, with ``x`` as in the dataset: what ``predict`` takes."""
        return load_clients(self.config, np.asarray(clients).tolist(), RAW)

    def _inputs(self, x: ArrayLike) -> Tensor:
        inputs, size = np.asarray(x, np.float32), len(self.projection.mean)
        if inputs.ndim > 2 and self.config.data.own:
            inputs = inputs.reshape(len(inputs), -1)
        if inputs.ndim != 2 or inputs.shape[1] != size:
            raise UserError(f"x has shape {inputs.shape}: expected (samples, {size})")
        if fault := not_raw(inputs, self.projection, self.config.data):
            raise UserError(f"x {fault}: expected raw inputs as in the dataset, see raw(clients)")
        return torch.from_numpy(self.projection.inputs(inputs))


@torch.no_grad()
def _output(module: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    return torch.as_tensor(functional_call(module, parameters, x))


def load_run(path: str | Path) -> Run:
    """Return ``Run.load(path)``."""
    return Run.load(path)
