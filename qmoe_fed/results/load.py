"""Opens the directory of a finished run: what was asked, what came out, the trained mixtures.

::

    load_run("runs/my-run").predict(client=3, x=[[0.5, 0.25]])
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
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
from qmoe_fed.results.checkpoint import exists
from qmoe_fed.results.run_directory import read_about, read_json, read_lines, read_tensors
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
        try:
            return cls(path, *_load(path))
        except UserError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"the run in {path} is damaged: {error!r}") from error

    @cached_property
    def rounds(self) -> "pd.DataFrame":
        """The ``records`` as a frame, a row per round; its columns are named as accuracy-mean."""
        from pandas import json_normalize

        return json_normalize(self.records, sep="-")

    @cached_property
    def clients(self) -> "pd.DataFrame":
        """Final metrics of the clients, a row each; ``client`` holds their ids."""
        own = sorted(self.path.glob("experts/clients-*.json"))  # where scores stay with the hosts
        parts = [read_json(file) for file in own]
        if sum(len(part["client"]) for part in parts) < self.config.federation.num_clients:
            parts = [read_json(self.path / "clients.json")]
        return frame(*parts)

    @cached_property
    def unseen(self) -> "pd.DataFrame":
        """Accuracies of the unseen clients, by router and samples; empty if there were none.

        Column ``shared-8`` is that of a client with the shared router and 8 labelled samples.
        """
        return frame(read_json(self.path / "unseen.json") if self.summary["unseen"] else {})

    @cached_property
    def local(self) -> Parameters:
        """What clients keep to themselves, ``(k, *shape)`` each, as far as hosts saved it here.

        ``clients`` holds their ids, ``(k,)``.
        """
        files = sorted((self.path / "experts").glob("host-*.safetensors"))
        parts = [read_tensors(file) for file in files]
        if not parts:
            return {}
        order = torch.cat([part["clients"] for part in parts]).argsort()
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    @cached_property
    def model(self) -> Mixture:
        """A module for one client; its own parameters are not the trained ones.

        It has exact probabilities where the run had shots, and no noise where clients had theirs.
        """
        return self._build()

    def _build(self, layers: int = 0) -> Mixture:
        shape = shape_of(self.config)
        exact = self.config.model.without_shots
        return build_model(exact, shape.features, shape.classes, layers, shape.inputs).eval()

    @cached_property
    def complete(self) -> NDArray[np.int64]:
        """Ids of the clients whose parameters are all here, ascending."""
        if self.shared.keys() >= set(self._names):
            return np.arange(self.config.federation.num_clients)
        return np.asarray(self.local.get("clients", torch.arange(0)), np.int64)

    @cached_property
    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]

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
        return {name: every[name] for name in self._names}

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
        if not parameters.keys() >= {name for name in self._names if name.startswith(ROUTER)}:
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


def _load(
    path: Path,
) -> tuple[Config, dict[str, Any], list[dict[str, Any]], Projection, Parameters]:
    """Return what a run holds besides its path, see ``Run``."""
    about = read_about(path)
    way_on = f"; go on with it: qmoe-fed run APP --resume {path}" if exists(path) else ""
    if not (path / "summary.json").is_file():
        raise UserError(f"the run in {path} has not finished: there is no summary.json yet{way_on}")
    summary = read_json(path / "summary.json")
    if summary["status"] == "failed":
        raise UserError(
            f"the run in {path} failed ({summary['reason']}) and has no final models to load; what "
            f"it had come to stands in metrics.jsonl and shared.safetensors{way_on}"
        )
    try:
        config = Config.from_flat(about["settings"])
    except UserError as error:
        told = f"{path / 'config.json'}, written by qmoe-fed {about['versions']['qmoe-fed']},"
        raise UserError(f"{told} cannot be used by {version('qmoe-fed')}: {error}") from error
    return (
        config,
        summary,
        read_lines(path / "metrics.jsonl"),
        Projection.from_dict(read_tensors(path / "projection.safetensors")),
        read_tensors(path / "shared.safetensors"),
    )
