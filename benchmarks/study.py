"""Whole studies: the phase-1 notebook's hybrid on MNIST, and seeds trained together."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pennylane as qml
import torch
from timing import Result, compare, spread
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, normalize

from qmoe_fed.circuits import statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, idx, load_clients
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import train

QUBITS, LAYERS, EXPERTS, EPOCHS, BATCH = 4, 2, 3, 8, 32
PUBLISHED_SECONDS = 5258.0
CIRCUIT = layered(QUBITS, LAYERS, QUBITS, entangler="strongly-entangling")


class Hybrid(nn.Module):
    """A linear gate over experts that are circuits on amplitude-embedded pixels, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(2**QUBITS, EXPERTS)
        self.head = nn.Linear(QUBITS, 2)
        self.theta = nn.Parameter(torch.rand(EXPERTS, CIRCUIT.parameters) * 2 * torch.pi)
        bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * QUBITS)
        self.basis = bits * torch.pi
        self.signs = (1 - 2 * bits).repeat_interleave(2, 0)  # of real and imaginary parts

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, 2)`` for pixels ``(B, 16)`` of norm 1."""
        # angles of π embed the basis states: what the circuit makes of them is its matrix
        matrix = torch.view_as_real(statevector.amplitudes(CIRCUIT, self.basis, self.theta))
        psi = x @ matrix.flatten(-2)
        return self.mix(x, psi * psi @ self.signs)

    def mix(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return logits from the experts' ⟨Z⟩, ``(N, B, n)``."""
        weights = self.gate(x).softmax(-1).T.unsqueeze(-1)
        return self.head((weights * outputs).sum(0))


def per_sample(model: Hybrid) -> Callable[[Tensor], Tensor]:
    """Return the forward pass as the notebook does it: a circuit per sample and expert."""

    @qml.qnode(qml.device("default.qubit", wires=QUBITS), interface="torch", diff_method="backprop")
    def expert(x: Tensor, theta: Tensor) -> list[object]:
        qml.AmplitudeEmbedding(x, wires=range(QUBITS))
        qml.StronglyEntanglingLayers(theta.view(LAYERS, QUBITS, 3), wires=range(QUBITS))
        return [qml.expval(qml.PauliZ(j)) for j in range(QUBITS)]

    def forward(x: Tensor) -> Tensor:
        outputs = [[torch.stack(list(expert(row, t))) for row in x] for t in model.theta]
        return model.mix(x, torch.stack([torch.stack(rows) for rows in outputs]).float())

    return forward


def notebook(data_dir: Path | None, epochs: int, slice_size: int) -> Result:
    """Train the notebook's model on zeros and ones, and time the per-sample loop on a slice.

    Args:
        data_dir: Folder with MNIST's files; None for random pixels of the same number.
        epochs: Epochs to train; the time is scaled to the notebook's 8.
        slice_size: Samples for the loop, a multiple of the batch size.

    Raises:
        RuntimeError: The loop computes something else.
    """
    torch.manual_seed(0)
    x, y = _pixels(data_dir)
    model, reference = Hybrid(), Hybrid()
    reference.load_state_dict(model.state_dict())
    loop = per_sample(reference)
    if not torch.allclose(loop(x[:4]), model(x[:4]), atol=1e-4):
        raise RuntimeError("the per-sample loop does not agree")
    ours = [_epoch(model, model, x, y) * EPOCHS for _ in range(epochs)]
    scale = EPOCHS * len(x) / slice_size
    theirs = [_epoch(reference, loop, x[:slice_size], y[:slice_size]) * scale for _ in range(3)]
    accuracy = (model(x).argmax(-1) == y).float().mean().item()
    return {
        "data": "MNIST 0 and 1" if data_dir else "random",
        "samples": len(x),
        "accuracy": accuracy,
        "seconds": {"qmoe_fed": spread(ours), "per sample": spread(theirs)},
        "ratios": {
            "per sample": spread([slow / fast for slow in theirs for fast in ours]),
            "published": {"median": PUBLISHED_SECONDS / spread(ours)["median"]},
        },
    }


def _epoch(model: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Train for an epoch and return the seconds of processor time."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    before = time.process_time()
    for rows in torch.randperm(len(x)).split(BATCH):
        optimizer.zero_grad()
        cross_entropy(forward(x[rows]), y[rows]).backward()
        optimizer.step()
    return time.process_time() - before


def _pixels(data_dir: Path | None) -> tuple[Tensor, Tensor]:
    if data_dir is None:
        return normalize(torch.rand(12_665, 16)), torch.randint(0, 2, (12_665,))
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    images, labels = map(torch.tensor, idx.read(*(data_dir / name for name in names)))
    binary = labels < 2
    small = adaptive_avg_pool2d(images[binary].unsqueeze(1).float(), 4).flatten(1)
    return normalize(small), labels[binary].long()


def seeds_together(seeds: int, seconds: float) -> Iterator[Result]:
    """Time seeds trained in one tensor program against one after another."""
    settings = {"num-clients": seeds, "num-unseen-clients": 0, "train-samples": 320}
    settings |= {"local-epochs": 2, "weight-decay": 0.0, "expert-fit": "gradient"}
    config = Config.from_flat(settings)
    model = Model(config)
    samples = load_clients(config, range(seeds), fit_projection(config)).train
    start, task = model.initial(model.names, range(seeds)), model.task(model.names)

    def fit(rows: slice) -> Tensor:
        part = {name: values[rows] for name, values in start.items()}
        return train(task, part, samples.select(rows), range(seeds)[rows]).loss

    def one_by_one() -> Tensor:
        return torch.cat([fit(slice(k, k + 1)) for k in range(seeds)])

    if not torch.allclose(fit(slice(None)), one_by_one(), atol=1e-4):
        raise RuntimeError("seeds trained together differ from seeds one by one")
    contenders = {"together": lambda: fit(slice(None)), "one after another": one_by_one}
    yield {"seeds": seeds, **compare(contenders, seconds)}
