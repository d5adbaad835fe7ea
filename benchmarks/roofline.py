"""How fast the machine could move the bytes that a gradient has to move, from memory to memory."""

from collections.abc import Iterator

import torch
from router import LAYERS
from timing import Result, interleave, spread

from qmoe_fed.circuits import Circuit, kronecker, statevector


def measure(cases: list[tuple[int, int]], seconds: float) -> Iterator[Result]:
    """Compare the time of RY-CZ gradients with that of copying the same number of bytes.

    Counted is what cannot be saved without fusing operations. S is the size of all states. Each of
    L - 1 layers multiplies the state by one matrix per group of qubits (forward read and write,
    backward twice read and once write, for the state's gradient, and read for the matrix's: 6 S)
    and by the signs of CZ (forward and backward 2 S each). The embedding writes S and reads its
    gradient; the square reads and writes, forward and backward, 5 S; the readout reads S and
    writes S.

    Args:
        cases: Pairs of number of qubits and batch size.
        seconds: Time for each measurement.
    """
    bandwidth = copy_bandwidth()
    for qubits, batch in cases:
        circuit = Circuit(qubits, LAYERS, measured=2)
        x, theta = torch.rand(batch, qubits), torch.rand(LAYERS, qubits).requires_grad_()

        def gradient(circuit: Circuit = circuit, x=x, theta=theta) -> object:
            return torch.autograd.grad(statevector.run(circuit, x, theta)[:, 0].sum(), theta)

        times = spread(interleave({"qmoe_fed": gradient}, seconds)["qmoe_fed"])
        groups = -(-qubits // kronecker.GROUP)
        moved = ((LAYERS - 1) * (6 * groups + 4) + 9) * 4 * batch * 2**qubits
        yield {
            "qubits": qubits,
            "batch": batch,
            "seconds": {"qmoe_fed": times},
            "gigabytes": moved / 1e9,
            "gigabytes per second": bandwidth / 1e9,
            "times the bound": times["median"] * bandwidth / moved,
        }


def copy_bandwidth() -> float:
    """Return the bytes read and written per second when memory beyond any cache is copied."""
    source = torch.rand(2**25)
    target = torch.empty_like(source)
    times = interleave({"copy": lambda: target.copy_(source)}, 1)
    return 2 * source.nbytes / spread(times["copy"])["median"]
