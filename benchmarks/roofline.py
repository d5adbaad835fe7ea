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
    source = torch.rand(2**25)  # beyond any cache
    target = torch.empty_like(source)
    for qubits, batch in cases:
        circuit = Circuit(qubits, LAYERS, measured=2)
        x, theta = torch.rand(batch, qubits), torch.rand(LAYERS, qubits).requires_grad_()

        def gradient(circuit: Circuit = circuit, x=x, theta=theta) -> object:
            return torch.autograd.grad(statevector.run(circuit, x, theta)[:, 0].sum(), theta)

        times = interleave({"qmoe_fed": gradient, "copy": lambda: target.copy_(source)}, seconds)
        groups = -(-qubits // kronecker.GROUP)
        passes = (LAYERS - 1) * (6 * groups + 4) + 9
        size = 4 * batch * 2**qubits
        bandwidth = 2 * source.nbytes / spread(times["copy"])["median"]
        bound = passes * size / bandwidth
        yield {
            "qubits": qubits,
            "batch": batch,
            "seconds": {"qmoe_fed": spread(times["qmoe_fed"])},
            "gigabytes": passes * size / 1e9,
            "gigabytes per second": bandwidth / 1e9,
            "times the bound": spread(times["qmoe_fed"])["median"] / bound,
        }
