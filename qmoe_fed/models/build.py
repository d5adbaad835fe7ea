"""From settings to a module, and from a seed to the parameters of many of its replicas."""

from collections.abc import Callable, Collection, Sequence
from typing import cast

import torch
from torch import nn

from qmoe_fed import memory, rng
from qmoe_fed.circuits import Circuit, Slot, with_noise
from qmoe_fed.circuits.ansatz import Embedding, Entangler, layered
from qmoe_fed.config import ExpertCircuit, ModelConfig
from qmoe_fed.config.plugins import call, load_object
from qmoe_fed.config.settings import parse_options
from qmoe_fed.config.values import Spread
from qmoe_fed.errors import UserError
from qmoe_fed.models.devices import Parameters, calibrated
from qmoe_fed.models.mixture import ExpertList, LinearExperts, Mixture, keep_largest
from qmoe_fed.models.quantum import QuantumExperts, Running
from qmoe_fed.models.routers import LinearRouter, MlpRouter, NoChoice, QuantumRouter, TrigRouter

OPERATION = 200  # bytes of an operation of a circuit in Python, at least


def build_model(
    config: ModelConfig, features: int, classes: int, layers: int = 0, inputs: int = 0
) -> Mixture:
    """Return the mixture for one client.

    Args:
        config: Which router and experts.
        features: Number of features d that the router sees.
        classes: Number of classes C.
        layers: Of the client's circuit, if it has fewer than others; 0 is the most there are. The
            parameters are the same: a circuit of few layers reads the first ones of θ.
        inputs: Number of inputs of an expert, which follow the d features in a sample; 0: experts
            see the features too.

    Raises:
        UserError: The router cannot take so many features or experts, or a user's module cannot
            be found or built.
    """
    with torch.random.fork_rng(devices=[]):  # torch's layers draw when they are built
        seen = features + config.calibration
        router = _build_router(config, seen, layers or config.depths[-1])
        if config.calibration:
            router.register_buffer("calibration", torch.zeros(1))
            router.register_forward_pre_hook(calibrated)
        if k := config.top_k:  # a hook, so that the router's parameters keep their names
            router.register_forward_hook(lambda _, x, weights: keep_largest(weights, k))
        experts = _build_experts(config, inputs or features, classes)
        return Mixture(router, experts, features if inputs else 0)


def _build_router(config: ModelConfig, features: int, layers: int) -> nn.Module:
    n = config.num_experts
    if config.router == "none":
        return NoChoice()
    if config.router == "linear":
        return LinearRouter(features, n)
    if config.router == "mlp":
        return MlpRouter(features, n, config.hidden_width)
    if config.router == "trig":
        return TrigRouter(features, n)
    if config.router == "quantum":
        return _quantum_router(config, features, layers)
    return _user_module("router", config.router, config.router_options, features, n)


def _quantum_router(config: ModelConfig, features: int, layers: int) -> QuantumRouter:
    if features > config.qubits:
        whose = "data and the calibration" if config.calibration else "data"
        raise UserError(
            f"qubits = {config.qubits}: the {whose} have {features} features, one qubit each; "
            f"use qubits = {features} or fewer features"
        )
    deepest = config.depths[-1]
    whole = _circuit(config, config, deepest, features)
    circuit = whole if layers == deepest else _circuit(config, config, layers, features)
    return QuantumRouter(
        circuit,
        config.num_experts,
        config.readout,
        config.init_angle,
        whole.parameters,
        _running(config),
    )


def _running(config: ModelConfig) -> Running:
    return Running(
        config.circuit_engine,
        config.shots,
        config.shot_gradients,
        config.shot_source,
        config.device_options,
        config.mitigation,
    )


def _circuit(
    device: ModelConfig, config: ModelConfig | ExpertCircuit, layers: int, features: int
) -> Circuit:
    """Return a circuit with the noise of the device that it runs on.

    Strengths that differ among clients have slots.
    """
    if config.circuit == "layered":
        memory.check(f"layers = {layers}", 2 * layers * config.qubits * OPERATION)
        circuit = layered(
            config.qubits,
            layers,
            features,
            cast(Embedding, config.embedding),  # checked by the config
            cast(Entangler, config.entangler),
            config.reuploading,
        )
    else:
        function = load_object(config.circuit, "circuit")
        circuit = call(f"circuit {config.circuit!r}", function, config.qubits, layers, features)
        if not isinstance(circuit, Circuit):
            raise UserError(
                f"circuit {config.circuit!r}: expected a function (qubits, layers, features) that "
                f"returns a Circuit, got a {type(circuit).__name__}"
            )
    if circuit.features > features:
        raise UserError(
            f"circuit {config.circuit!r} reads {circuit.features} features: there are {features}"
        )
    if device.noise_channel != "none":
        strength = _slot_or_number(circuit, device.strengths)
        circuit = with_noise(circuit, device.noise_channel, strength, device.noise_placement)
    if device.readout_errors.high > 0:
        strength = _slot_or_number(circuit, device.readout_errors)
        circuit = with_noise(circuit, "bit-flip", strength, "readout")
    return circuit


def _slot_or_number(circuit: Circuit, spread: Spread) -> float | Slot:
    return Slot(circuit.strengths) if spread.differ else spread.low


def _build_experts(config: ModelConfig, features: int, classes: int) -> nn.Module:
    if config.expert == "linear":
        return LinearExperts(features, classes, config.num_experts)
    if config.expert == "quantum":
        return _quantum_experts(config, features, classes)
    path, options = config.expert, config.expert_options
    return ExpertList(
        [
            _user_module("expert", path, options, features, classes)
            for _ in range(config.num_experts)
        ]
    )


def _quantum_experts(config: ModelConfig, inputs: int, classes: int) -> QuantumExperts:
    options, n = config.expert_circuit, config.num_experts
    most = 2**options.qubits if options.embedding == "amplitude" else options.qubits
    if inputs > most and options.circuit == "layered":
        raise UserError(
            f"expert-options: the {options.qubits} qubits of an expert hold {most} inputs, and "
            f"there are {inputs}; use more qubits, embedding = 'amplitude' or fewer expert-features"
        )
    circuit = _circuit(config, options, options.layers, inputs)
    running = _running(config)
    return QuantumExperts(circuit, n, classes, options.head, config.init_angle, running)


def _user_module(what: str, path: str, options: str, inputs: int, outputs: int) -> nn.Module:
    keywords = parse_options(f"{what}-options", options)
    try:
        module = load_object(path, what)(inputs, outputs, **keywords)
    except TypeError as error:
        arguments = [f"{inputs}", f"{outputs}", *filter(None, [options])]
        raise UserError(
            f"{what} {path!r} cannot be built with ({', '.join(arguments)}): {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{what} {path!r} is a {type(module).__name__}, not a torch.nn.Module")
    for part in module.modules():
        if "qnode_weights" in vars(part):  # PennyLane's TorchLayer reads copies of its parameters
            vars(part)["qnode_weights"] = part._parameters
    return module


def initial_parameters(
    make: Callable[[], nn.Module],
    seed: int,
    clients: Sequence[int],
    names: Collection[str] | None = None,
) -> Parameters:
    """Return initial parameters of one replica per client, each ``(K, *shape)``, float32.

    Those named, or all.

    A client's parameters depend on (seed, client) only. Parameters whose module states
    ``init_bounds`` are drawn for all clients at once; for the others the model is built once per
    client, with torch's generator seeded for that client and restored afterwards.
    """
    model = make()
    template, bounds = dict(model.named_parameters()), _init_bounds(model)
    drawn = {}
    wanted = template.keys() if names is None else template.keys() & set(names)
    for name in (name for name in template if name in wanted and name in bounds):
        unit = rng.uniform(seed, f"init/{name}", clients, tuple(template[name].shape))
        drawn[name] = torch.from_numpy(bounds[name] * (2 * unit - 1)).float()
    if drawn.keys() == wanted:
        return drawn
    built = _built_one_by_one(make, seed, clients)
    return {name: drawn.get(name, built[name]) for name in template if name in wanted}


def _init_bounds(model: nn.Module) -> dict[str, float]:
    """Return the half-width of the uniform start of each parameter that has one."""
    bounds: dict[str, float] = {}
    for prefix, module in model.named_modules():
        stated = getattr(module, "init_bounds", {})
        if type(module) is nn.Linear:
            stated = {name: module.in_features**-0.5 for name, _ in module.named_parameters()}
        dot = "." if prefix else ""  # none before those of the model itself
        bounds |= {f"{prefix}{dot}{name}": bound for name, bound in stated.items()}
    return bounds


def _built_one_by_one(
    make: Callable[[], nn.Module], seed: int, clients: Sequence[int]
) -> Parameters:
    replicas = []
    with torch.random.fork_rng(devices=[]):
        for client in clients:
            torch.manual_seed(int(rng.generator(seed, "init", client).integers(2**63)))
            replicas.append({n: p.detach() for n, p in make().named_parameters()})
    return {name: torch.stack([r[name] for r in replicas]) for name in replicas[0]}
