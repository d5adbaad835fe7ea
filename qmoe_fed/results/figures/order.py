"""Which clients are shown side by side, and in which order."""

import numpy as np
from numpy.typing import NDArray


def serpentine(shares: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the order of rows that puts like beside like.

    Rows are grouped by their largest column; the largest share falls within the first group,
    rises within the next, and so on. For two columns this is the order by the first.

    Args:
        shares: One row per client, shape ``(K, n)``.
    """
    group = shares.argmax(1)
    within = np.where(group % 2 == 0, -1, 1) * shares.max(1)
    order: NDArray[np.int64] = np.lexsort((within, group))
    return order


def evenly_spaced(total: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the numbers 0 … total - 1, evenly spaced, ends included."""
    return np.linspace(0, total - 1, min(total, most)).round().astype(np.int64)
