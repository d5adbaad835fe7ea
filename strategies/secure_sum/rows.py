"""The rows that are summed, whoever sums them, and what their sum comes to."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.federated.hidden import Refused, Wire
from qmoe_fed.federated.updates import ClientTable, Cohort
from strategies.secure_sum.checks import KINDS, scores
from strategies.secure_sum.fixed_point import Block, clip_rows, dequantise, quantise

Floats = NDArray[np.float64]


def head(wire: Wire) -> tuple[str, int, int]:
    """Return kind, round and attempt of a message; Refused if it is no message about a sum."""
    numbers = [wire.get(name) for name in ("kind", "round", "attempt")]
    kind, number, attempt = (n if isinstance(n, int) else -1 for n in numbers)
    if not 0 <= kind < len(KINDS):
        raise Refused(f"a sum of kind {kind}: expected one of {KINDS}")
    return KINDS[kind], number, attempt


def integers(
    config: Config, kind: str, number: int, table: Cohort | ClientTable, blocks: Sequence[Block]
) -> dict[int, NDArray[np.int64]]:
    """Return what clients send to be summed, ``(d,)`` each; not of those with numbers not finite.

    Args:
        config: The run.
        kind: One of ``KINDS``.
        number: The round.
        table: What they have trained, or their scores.
        blocks: What a row consists of; they round alike whenever the round is run.

    Raises:
        Refused: The table is not of that kind.
    """
    kept, values = _rows(config, kind, table)
    seed, size = config.federation.seed, values.shape[1]
    draws = rng.uniform(seed, f"secure-sum {kind}", kept, (size,), number)
    return dict(zip(kept, quantise(values, blocks, draws), strict=True))


def _rows(config: Config, kind: str, table: Cohort | ClientTable) -> tuple[list[int], Floats]:
    if (kind == "train") != isinstance(table, Cohort):  # else rows could be summed twice
        raise Refused(f"shares: asked for {kind}, which is not what this host has just done")
    if isinstance(table, Cohort):
        ids, others = [*table.clients], torch.stack([table.losses, table.weights], 1)
        values = torch.cat([table.updates, others], 1).numpy()
    else:
        ids = table.clients.tolist()
        values = torch.stack([table.columns[name] for name in scores(config)], 1).numpy()
    finite = np.isfinite(values).all(1)
    kept = [client for client, good in zip(ids, finite, strict=True) if good]
    if kind == "train":
        return kept, _weighted(config, values[finite])
    return kept, values[finite]


def _weighted(config: Config, values: Floats) -> Floats:
    """Return rows as ``checks.blocks`` says, of updates, losses and numbers of examples."""
    updates, losses, examples = values[:, :-2], values[:, -2:-1], values[:, -1:]
    clipped = clip_rows(updates, config.privacy.clip_norm)
    if config.strategy.weighting == "uniform":
        return np.hstack([clipped, losses])
    weights = examples.clip(1, config.strategy.max_weight)
    return np.hstack([weights * clipped, losses, weights])


def mean(
    config: Config, kind: str, sums: NDArray[np.int64], blocks: Sequence[Block], count: int
) -> Tensor:
    """Return the mean of so many clients' rows, ``(d,)``, without the numbers of examples.

    Raises:
        Refused: These are too few to be true.
    """
    values = dequantise(sums, blocks)
    result = values / count
    if kind == "train" and config.strategy.weighting == "examples":
        if values[-1] < count / 2:
            raise Refused(f"{count} clients say that they have {values[-1]:g} samples in all")
        result = np.append(values[:-2] / values[-1], result[-2])
    return torch.from_numpy(result)
