"""How fast the machine could move the bytes that a gradient has to move, from memory to memory."""

from collections.abc import Iterator

import router
import torch
from timing import Result, in_process, interleave, spread

from qmoe_fed.circuits import kronecker

KEEP = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
"""Tells glibc to keep freed memory for the next allocation."""


def measure(cases: list[tuple[int, int]], seconds: float) -> Iterator[Result]:
    """Compare the time of RY-CZ gradients with that of copying the same number of bytes.

    Counted is what cannot be saved without fusing operations. S is the size of all states. Each of
    L - 1 layers multiplies the state by one matrix per group of qubits (forward read and write,
    backward twice read and once write, for the state's gradient, and read for the matrix's: 6 S)
    and by the signs of CZ (forward and backward 2 S each). The embedding writes S and reads its
    gradient; the square reads and writes, forward and backward, 5 S; the readout reads S and
    writes S.

    Every case is timed twice, in processes of their own: as the C library does by default, which
    gives large arrays back to the system and has each page of the next one cleared again, and told
    to keep them.

    Args:
        cases: Pairs of number of qubits and batch size.
        seconds: Time for each measurement.
    """
    bandwidth = copy_bandwidth()
    for qubits, batch in cases:
        groups = -(-qubits // kronecker.GROUP)
        moved = ((router.LAYERS - 1) * (6 * groups + 4) + 9) * 4 * batch * 2**qubits
        case = (router.__file__, "RY-CZ", "probs", qubits, batch, 0, seconds)
        kept = {"qmoe_fed": {}, "memory kept": KEEP}
        times = {name: in_process(*case, **how)["seconds"] for name, how in kept.items()}
        bounds = {
            f"{name}, times the bound": time["median"] * bandwidth / moved
            for name, time in times.items()
        }
        yield {
            "qubits": qubits,
            "batch": batch,
            "seconds": times,
            "gigabytes": moved / 1e9,
            "gigabytes per second": bandwidth / 1e9,
            **bounds,
        }


def copy_bandwidth() -> float:
    """Return the bytes read and written per second when memory beyond any cache is copied."""
    source = torch.rand(2**25)
    target = torch.empty_like(source)
    times = interleave({"copy": lambda: target.copy_(source)}, 1)
    return 2 * source.nbytes / spread(times["copy"])["median"]
