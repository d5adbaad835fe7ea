"""The rows that are summed, whoever sums them, and what their sum comes to."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.federated.hidden import Refused, Sum, Wire
from qmoe_fed.federated.updates import ClientTable, Cohort
from strategies.secure_sum.checks import KINDS, clip_norm, scores
from strategies.secure_sum.fixed_point import Block, clip_rows, quantise

Floats = NDArray[np.float64]


def heading(what: Sum, attempt: int) -> Wire:
    """Return what a message about a sum begins with; ``head`` reads it."""
    number = what.round + (what.kind == "score")  # the first scores are of round 0
    return {"kind": KINDS.index(what.kind), "round": number, "attempt": attempt}


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
    ids, found = values(config, kind, table)
    finite = np.logical_and.reduce(np.isfinite(found), axis=1)
    kept, rows = [c for c, good in zip(ids, finite, strict=True) if good], found[finite]
    if kind == "train":
        rows = _weighted(config, rows)
    seed, shape = config.federation.seed, rows.shape[1:]
    draws = rng.uniform(seed, f"secure-sum {kind}", kept, shape, number)
    return dict(zip(kept, quantise(rows, blocks, draws), strict=True))


def values(config: Config, kind: str, table: Cohort | ClientTable) -> tuple[list[int], Floats]:
    """Return whose rows a sum is of, and these: updates, loss and examples, or ``scores``.

    Raises:
        Refused: The table is not of that kind.
    """
    if (kind == "train") != isinstance(table, Cohort):  # else rows could be summed twice
        raise Refused(f"shares: asked for {kind}, which is not what this host has just done")
    if isinstance(table, Cohort):
        columns = table.updates, table.losses[:, None], table.weights[:, None]
        return [*table.clients], torch.cat(columns, 1).numpy()
    rows = torch.stack([table.columns[name] for name in scores(config)], 1)
    return table.clients.tolist(), rows.numpy()


def _weighted(config: Config, rows: Floats) -> Floats:
    """Return rows as ``checks.rows`` says, of updates, losses and numbers of examples."""
    updates, losses, examples = rows[:, :-2], rows[:, -2:-1], rows[:, -1:]
    clipped = clip_rows(updates, clip_norm(config))
    if config.strategy.weighting == "uniform":
        return np.hstack([clipped, losses])
    weights = examples.clip(1, config.strategy.max_weight)
    return np.hstack([weights * clipped, losses, weights])


def mean(config: Config, kind: str, sums: Floats, count: int) -> Floats:
    """Return the mean of so many clients' rows, ``(d,)``, without the numbers of examples.

    Raises:
        Refused: These are too few to be true.
    """
    result = sums / count
    if kind == "train" and config.strategy.weighting == "examples":
        if sums[-1] < count / 2:
            raise Refused(f"{count} clients say that they have {sums[-1]:g} samples in all")
        result = np.append(sums[:-2] / sums[-1], result[-2])
    return result
