"""How fast the machine could move the bytes that a gradient has to move, from memory to memory.

As a program, ``python roofline.py QUBITS BATCH SECONDS``, it prints what a gradient takes.
"""

import json
import sys
from collections.abc import Iterator

import torch
from router import LAYERS, circuit_of
from timing import Result, in_process, interleave, spread

from qmoe_fed.circuits import kronecker, statevector

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
        moved = ((LAYERS - 1) * (6 * groups + 4) + 9) * 4 * batch * 2**qubits
        times = {
            "qmoe_fed": in_process(__file__, qubits, batch, seconds),
            "memory kept": in_process(__file__, qubits, batch, seconds, **KEEP),
        }
        yield {
            "qubits": qubits,
            "batch": batch,
            "seconds": times,
            "gigabytes": moved / 1e9,
            "gigabytes per second": bandwidth / 1e9,
            **{
                f"{name}, times the bound": time["median"] * bandwidth / moved
                for name, time in times.items()
            },
        }


def copy_bandwidth() -> float:
    """Return the bytes read and written per second when memory beyond any cache is copied."""
    source = torch.rand(2**25)
    target = torch.empty_like(source)
    times = interleave({"copy": lambda: target.copy_(source)}, 1)
    return 2 * source.nbytes / spread(times["copy"])["median"]


def _time(qubits: int, batch: int, seconds: float) -> Result:
    circuit = circuit_of("RY-CZ", qubits)
    x, theta = torch.rand(batch, qubits), torch.rand(circuit.parameters).requires_grad_()

    def gradient() -> object:
        return torch.autograd.grad(statevector.run(circuit, x, theta)[:, 0].sum(), theta)

    return spread(interleave({"qmoe_fed": gradient}, seconds)["qmoe_fed"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(_time(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
