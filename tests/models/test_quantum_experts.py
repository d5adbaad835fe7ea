"""Experts that are circuits: values and gradients against PennyLane, replicas, settings."""

import pennylane as qml
import pytest
import torch
from torch.func import functional_call

from qmoe_fed.circuits import Circuit, feature, gate, parameter
from qmoe_fed.config import Config, ExpertCircuit, ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.learning.replicas import apply, row_of
from qmoe_fed.models import angle_names, build_model, draw_keys, initial_parameters

ANGLE = "qubits = 3, layers = 2, reuploading = true"
AMPLITUDE = "qubits = 3, embedding = 'amplitude', entangler = 'strongly-entangling', layers = 2"
BARE = "qubits = 3, head = false"


def mixture(options, inputs=3, classes=2, double=True, **settings):
    given = {"expert": "quantum", "expert_options": options, "num_experts": 4, "qubits": 3}
    config = ModelConfig(**{**given, **settings})
    module = build_model(config, 3, classes, inputs=inputs if inputs != 3 else 0)
    values = initial_parameters(lambda: module, 1, [0, 1, 2])
    return module.double() if double else module, {n: v.double() for n, v in values.items()}


def samples(features, lead=(5,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(*lead, features, generator=generator, dtype=torch.float64)


def theirs(options, x, values, strength=0.0):
    """The scores of all experts by PennyLane alone, expert by expert and sample by sample."""
    given = ExpertCircuit.read(options, 3)
    noisy = strength > 0

    device = qml.device("default.mixed" if noisy else "default.qubit", wires=3)

    @qml.qnode(device, interface="torch")
    def circuit(x, theta):
        def noise(*wires):
            for wire in wires if noisy else ():
                qml.DepolarizingChannel(strength, wires=wire)

        if given.embedding == "amplitude":
            qml.AmplitudeEmbedding(x, wires=range(3), normalize=True, pad_with=0.0)
            noise(0, 1, 2)
            qml.StronglyEntanglingLayers(theta.view(given.layers, 3, 3), wires=range(3))
        else:
            for angles in theta.view(given.layers, 3):
                for wire in range(3):
                    qml.RY(x[wire], wires=wire)
                    noise(wire)
                for wire in range(3):
                    qml.RY(angles[wire], wires=wire)
                    noise(wire)
                for pair in ((0, 1), (1, 2)):
                    qml.CZ(pair)
                    noise(*pair)
        return [qml.expval(qml.Z(wire)) for wire in range(3)]

    rows = []
    for i, theta in enumerate(values["experts.theta"]):
        read = torch.stack([torch.stack(circuit(sample, theta)) for sample in x])
        rows.append(read @ values["experts.weight"][i].T + values["experts.bias"][i])
    return torch.stack(rows, 1)


@pytest.mark.parametrize(
    ("options", "inputs", "strength"), [(ANGLE, 3, 0), (AMPLITUDE, 7, 0), (ANGLE, 3, 0.05)]
)
def test_values_and_gradients_equal_those_of_pennylane(options, inputs, strength):
    noise = {"noise_channel": "depolarizing", "noise_strength": strength} if strength else {}
    module, drawn = mixture(options, inputs, num_experts=2, **noise)
    x = samples(inputs, (2,))
    names = ["experts.theta", "experts.weight", "experts.bias"]
    both = []
    for run in (
        lambda own: functional_call(
            module.experts, {n.removeprefix("experts."): v for n, v in own.items()}, x
        ),
        lambda own: theirs(options, x, own, strength),
    ):
        own = {name: drawn[name][0].clone().requires_grad_() for name in names}
        scores = run(own)
        weights = torch.linspace(-1, 1, scores.numel()).double().view_as(scores)
        both.append([scores, *torch.autograd.grad((scores * weights).sum(), [*own.values()])])
    for ours, others in zip(*both, strict=True):
        torch.testing.assert_close(ours, others, atol=1e-10, rtol=0)
        assert ours.abs().max() > 1e-2


@pytest.mark.parametrize(
    ("options", "inputs", "noise"),
    [
        (ANGLE, 3, False),
        (BARE, 3, True),
        (AMPLITUDE, 7, False),
        ("qubits = 3, embedding = 'amplitude', layers = 1", 7, True),
    ],
)
def test_replicas_side_by_side_are_those_one_by_one(options, inputs, noise):
    given = {"noise_channel": "depolarizing", "noise_strength": "uniform(0, 0.2)"} if noise else {}
    module, drawn = mixture(options, inputs, layers=1, **given)
    width = 3 if inputs == 3 else 3 + inputs
    x = samples(width, (3, 5))
    if noise:
        strengths = torch.tensor([[0.0], [0.05], [0.2]]).double()
        drawn |= {"router.strengths": strengths, "experts.strengths": strengths}
    together = apply(module, drawn, x)
    torch.testing.assert_close(together, apply(module, drawn, x, "serial"), atol=1e-12, rtol=0)
    for k in range(3):
        alone = functional_call(module, row_of(drawn, k), x[k])
        torch.testing.assert_close(together[k], alone, atol=1e-12, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_the_same_experts_by_a_pennylane_engine():
    (ours, drawn), (other, _) = (
        mixture(ANGLE, circuit_engine=name) for name in ("statevector", "pennylane:default.qubit")
    )
    x, values = samples(3), {name: rows[0] for name, rows in drawn.items()}
    scores = (functional_call(module, values, x) for module in (ours, other))
    torch.testing.assert_close(*scores, atol=1e-12, rtol=0)


def test_without_a_head_scores_are_expectations_of_the_first_qubits():
    module, drawn = mixture(BARE, classes=2)
    assert {name for name in drawn if name.startswith("experts.")} == {"experts.theta"}
    experts = module.experts
    scores = functional_call(experts, {"theta": drawn["experts.theta"][0]}, samples(3))
    assert scores.shape == (5, 4, 2)
    assert scores.abs().max() <= 1
    zero = functional_call(experts, {"theta": torch.zeros(4, 9).double()}, torch.zeros(2, 3))
    torch.testing.assert_close(zero.double(), torch.ones(2, 4, 2).double(), atol=1e-6, rtol=0)


def test_angles_of_experts_are_angles_and_their_starts_follow_the_setting():
    module, drawn = mixture(ANGLE, init_angle=0.1, double=False)
    assert angle_names(module) == {"router.theta", "experts.theta"}
    assert drawn["experts.theta"].abs().max() <= 0.1
    assert drawn["experts.theta"].shape == (3, 4, 6)
    assert drawn["experts.weight"].shape == (3, 4, 2, 3)


def test_experts_draw_shots_of_their_own_around_the_exact_values():
    module, drawn = mixture(ANGLE, shots=10_000, shot_gradients="parameter-shift")
    exact, _ = mixture(ANGLE)
    keys = draw_keys(0, [0, 1, 2])
    x = samples(3, (3, 5))
    found = apply(module, {**drawn, "router.draw": keys, "experts.draw": keys}, x)
    expected = apply(exact, drawn, x)
    assert 1e-4 < (found - expected).abs().max() < 0.1
    alike = {"theta": torch.zeros(4, 6), "weight": torch.ones(4, 2, 3), "bias": torch.zeros(4, 2)}
    alike = {name: values.double() for name, values in alike.items()}
    same = functional_call(module.experts, {**alike, "draw": keys[0]}, samples(3))
    assert not torch.equal(same[:, 0], same[:, 1])  # another draw for each expert


def ring(qubits, layers, features):
    assert (layers, features) == (3, 3)
    return Circuit(qubits, [gate("RX", j, parameter(j)) for j in range(qubits)])


def greedy(qubits, layers, features):
    return Circuit(qubits, [gate("RX", 0, feature(layers + features))])


def test_any_circuit_by_its_import_path():
    module, _ = mixture(f"circuit = '{__name__}:ring', qubits = 2")
    assert module.experts.circuit.operations == ring(2, 3, 3).operations


def test_one_circuit_alone_is_a_mixture_of_one_without_a_router():
    module, drawn = mixture(ANGLE, num_experts=1, router="none")
    assert not any(name.startswith("router.") for name in drawn)
    x, own = samples(3), {name: rows[0] for name, rows in drawn.items()}
    parts = {n.removeprefix("experts."): v for n, v in own.items()}
    expected = functional_call(module.experts, parts, x)[:, 0]
    torch.testing.assert_close(functional_call(module, own, x), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"expert_options": "qubit = 3"}, "unknown option of a quantum expert 'qubit'"),
        ({"expert_options": "layers = 0"}, "layers = 0: must be at least 1"),
        ({"expert_options": "head = 1"}, "head = 1: expected bool, got int"),
        ({"expert_options": "embedding = 'iqp'"}, "unknown embedding 'iqp'"),
        ({"router": "none"}, "router = 'none' with num-experts = 4: nothing chooses"),
        ({"router": "mlp", "circuit": "a:b"}, "router = 'mlp': circuit needs router = 'quantum'"),
        ({"router": "mlp", "layers": "1..2"}, "a range of layers needs router = 'quantum'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ModelConfig(**{"expert": "quantum", **settings})


@pytest.mark.parametrize(
    ("options", "inputs", "message"),
    [
        ("qubits = 2", 3, "the 2 qubits of an expert hold 2 inputs, and there are 3"),
        ("qubits = 2, embedding = 'amplitude'", 5, "2 qubits of an expert hold 4 inputs"),
        ("embedding = 'amplitude', reuploading = true", 3, "prepared once; no reuploading"),
        ("head = false", 3, "3 qubits without a head tell no 4 classes apart"),
        (f"circuit = '{__name__}:greedy'", 3, "reads 7 features: there are 3"),
        ("circuit = 'no_such_module:ring'", 3, "no module 'no_such_module' is installed"),
    ],
)
def test_circuits_that_do_not_fit_the_data_are_refused(options, inputs, message):
    config = ModelConfig(expert="quantum", expert_options=options, qubits=3)
    with pytest.raises(UserError, match=message):
        build_model(config, 3, 4, inputs=inputs)


def test_experts_that_are_circuits_cannot_be_solved():
    with pytest.raises(UserError, match="expert-fit = 'solve' with expert = 'quantum'"):
        Config.from_flat({"expert": "quantum"})
