"""The same numbers on a GPU, and a clear word where there is none."""

from dataclasses import replace

import pytest
import torch

from qmoe_fed.circuits import (
    Circuit,
    Slot,
    amplitude_embedding,
    channel,
    feature,
    gate,
    parameter,
    statevector,
    unitary,
    with_noise,
)
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.errors import UserError
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.training import score_clients, train_clients

KINDS = [
    {},
    {"reuploading": True},
    {"entangler": "strongly-entangling"},
    {"embedding": "rx"},
    {"readout": "expval"},
]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("qubits", [3, 6, 9])
def test_a_circuit_makes_all_it_needs_on_the_device_of_its_inputs(kind, qubits):
    """Torch's ``meta`` device stands for any other than the CPU: it cannot be mixed with it."""
    kind = dict(kind)
    readout = kind.pop("readout", "probs")
    circuit = replace(layered(qubits, 3, qubits, **kind), readout=readout, measured=2)
    circuits = [circuit]
    if qubits < 9:
        for strength in (0.01, Slot(0)):
            noisy = with_noise(circuit, "depolarizing", strength, "gate")
            circuits.append(with_noise(noisy, "bit-flip", strength, "readout"))
    check_on_meta(circuits, qubits)


def test_a_list_of_any_operations_is_made_on_the_device_of_its_inputs():
    operations = [
        amplitude_embedding(feature(0), feature(1), 1.0, wires=(0, 1)),
        *(gate(name, 2, feature(2) + parameter(0) - 1) for name in ("RX", "RY", "RZ")),
        gate("Rot", 0, parameter(0), parameter(1), feature(0)),
        gate("H", 1),
        *(gate(name, (1, 2)) for name in ("CZ", "CNOT", "SWAP")),
        *(gate(name, (2, 0), parameter(1)) for name in ("CRX", "CRY", "CRZ")),
        unitary([[0, 1j], [1, 0]], 1),
    ]
    noise = channel("amplitude-damping", 0, Slot(0)), gate("RX", 0, parameter(0))
    check_on_meta([Circuit(3, tuple(operations)), Circuit(3, (*operations, *noise))], 3)


def check_on_meta(circuits, qubits):
    x = torch.empty(5, qubits, device="meta")
    for circuit in circuits:
        theta = torch.empty(circuit.parameters, device="meta", requires_grad=True)
        strengths = torch.empty(circuit.strengths, device="meta")
        output = statevector.run(circuit, x, theta, strengths)
        assert output.shape == (5, circuit.outputs)
        (gradient,) = torch.autograd.grad(output.sum(), theta)
        assert gradient.device.type == "meta"


def trained(device):
    settings = {"num-clients": 5, "num-unseen-clients": 0, "train-samples": 20, "device": device}
    config = Config.from_flat({**settings, "local-epochs": 2, "batch-size": 8})
    model, clients = Model(config), range(5)
    shared = {name: rows[0] for name, rows in model.initial(model.shared, [0]).items()}
    data = load_clients(config, clients, fit_projection(config)).to(device)
    local = model.initial(model.local, clients)
    update = train_clients(model, data, shared, local, clients, 1)
    scores, load, entropy = score_clients(model, data, shared, update.local, clients)
    return {
        "updates": update.updates,
        **update.local,
        "loss": scores.loss,
        "load": load,
        "bits": entropy,
    }


@gpu
def test_training_on_a_gpu_gives_the_numbers_of_the_cpu():
    on_gpu = trained("cuda")
    for name, expected in trained("cpu").items():
        assert on_gpu[name].device.type == "cuda"
        torch.testing.assert_close(on_gpu[name].cpu(), expected, atol=1e-4, rtol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch finds a GPU")
def test_without_a_gpu_the_setting_is_refused():
    with pytest.raises(UserError, match="device = 'cuda': torch finds no GPU here"):
        trained("cuda")
