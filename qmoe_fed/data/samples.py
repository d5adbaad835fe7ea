"""What clients hold: labelled samples of many clients, stacked and padded."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Labelled samples, one row per client; a client's own come first, zeros pad the rest.

    Attributes:
        x: Angles in [0, π], and behind them the inputs of experts if these see others, shape
            ``(K, M, d)``, float32.
        y: Classes 0 … C-1, shape ``(K, M)``, int64.
        counts: Number of samples of each client, shape ``(K,)``, int64.
    """

    x: Tensor
    y: Tensor
    counts: Tensor

    @property
    def mask(self) -> Tensor:
        """True where there is a sample and not padding, shape ``(K, M)``."""
        return torch.arange(self.x.shape[1], device=self.counts.device) < self.counts[:, None]

    def first(self, m: int) -> "Samples":
        """Return the first m samples of each client; a client with fewer keeps what it has."""
        return Samples(self.x[:, :m], self.y[:, :m], self.counts.clamp(max=m))

    def select(self, rows: Tensor | slice) -> "Samples":
        """Return the samples of the clients in the given rows, in that order; a slice is a view."""
        return Samples(self.x[rows], self.y[rows], self.counts[rows])

    def to(self, device: str) -> "Samples":
        """Return the samples on a device."""
        return Samples(self.x.to(device), self.y.to(device), self.counts.to(device))


@dataclass(frozen=True)
class ClientData:
    """The samples clients train on and the samples they are tested on, in the same row order."""

    train: Samples
    test: Samples

    def select(self, rows: Tensor | slice) -> "ClientData":
        """Return the samples of the clients in the given rows, in that order; a slice is a view."""
        return ClientData(self.train.select(rows), self.test.select(rows))

    def to(self, device: str) -> "ClientData":
        """Return the samples on a device."""
        return ClientData(self.train.to(device), self.test.to(device))
