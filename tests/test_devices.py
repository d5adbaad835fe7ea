"""The same numbers on a GPU, and a clear word where there is none."""

import pytest
import torch
from qmoe_fed.circuits.channels import Noise

from qmoe_fed.circuits import Circuit, density, statevector
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
    circuit = Circuit(qubits, 3, measured=2, **kind)
    x = torch.empty(5, qubits, device="meta")
    theta = torch.empty(circuit.parameter_shape, device="meta", requires_grad=True)
    outputs = [statevector.run(circuit, x, theta)]
    if qubits < 9:
        outputs.append(density.run(circuit, x, theta, Noise("depolarizing", 0.01)))
    for output in outputs:
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
