"""Before a run: what a user's own router or expert must be able to do is tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qmoe_fed import rng
from qmoe_fed.data import Samples, shape_of
from qmoe_fed.errors import UserError
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import train
from qmoe_fed.models import Parameters

PERTURBATIONS = 3  # that all leave the outputs as they are where a parameter has no effect


def try_module(model: Model, samples: Samples) -> None:
    """Refuse a user's router or expert that could not be trained, or not as it should be.

    Args:
        model: The run's model.
        samples: Of one client.

    Raises:
        UserError: Its outputs are not weights or scores; its numbers do not follow from the seed;
            a parameter has no effect, or a step of training fails. The message says what to do.
    """
    paths = {"router": model.config.model.router, "experts": model.config.model.expert}
    parts = {"router": model.module.router, "experts": model.module.experts}
    own = {part: parts[part] for part, path in paths.items() if ":" in path}
    samples = samples.to(model.config.training.device)
    told = " and ".join(f"{part.removesuffix('s')} {paths[part]!r}" for part in own)
    with _trying(f"{told} cannot be called" if own else ""):
        _check_outputs(model, samples.x[0])
    if own:
        _check_seeded(model, told)
        _check_effects(model, own, samples.x[0], told)
        _check_step(model, samples, told)


@contextmanager
def _trying(fault: str, advice: str = "") -> Iterator[None]:
    """Make one line of what a user's code raises in the block, if there is any of it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # anything
        if not fault:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{fault}: {reason}{advice}") from error


def _check_seeded(model: Model, told: str) -> None:
    builds = []
    for seed in (0, 1):  # of torch's own generator, which has no part in a run
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = Model(model.config).module
            names = [name for name, _ in module.named_parameters()]
            builds.append({**model.initial(names, [0]), **dict(module.named_buffers())})
    first, second = builds
    if others := [name for name, value in first.items() if not value.equal(second[name])]:
        raise UserError(
            f"{told}: {others[0]} is not the same if it is built again; draw parameters with torch "
            "alone, which the run seeds, and buffers with a seeded torch.Generator of their own"
        )


@torch.no_grad()
def _check_effects(model: Model, own: dict[str, nn.Module], x: Tensor, told: str) -> None:
    module, seed = model.module.eval(), model.config.federation.seed
    inputs = dict(zip(("router", "experts"), module.parts(x), strict=True))
    for part, of_part in own.items():
        start = model.initial([f"{part}.{n}" for n, _ in of_part.named_parameters()], [0])
        parameters = {name.removeprefix(f"{part}."): rows[0] for name, rows in start.items()}
        before = functional_call(of_part, parameters, inputs[part])
        for name, value in parameters.items():
            shape = (PERTURBATIONS, *value.shape)
            noise = torch.from_numpy(rng.normal(seed, f"trial/{name}", [0], shape)[0]).to(value)
            moved = ({**parameters, name: value + 10 * change} for change in noise)
            if all(functional_call(of_part, m, inputs[part]).equal(before) for m in moved):
                raise UserError(
                    f"{told}: {part}.{name} has no effect on its outputs; let forward read it from "
                    "the module it is an nn.Parameter of (no copy, no list), or leave it out"
                )


def _check_step(model: Model, samples: Samples, told: str) -> None:
    task, clients = model.task(model.names), [0, 1]
    settings = replace(task.settings, local_epochs=1)
    start = model.replicas(model.initial_shared(), model.initial(model.local, clients), clients)
    before = {name: values.clone() for name, values in model.module.named_buffers()}
    way = settings.execution
    advice = "; set execution = 'serial', for clients one by one" if way == "vmap" else ""
    with _trying(f"{told} cannot be trained in execution = {way!r}", advice):
        both = samples.select(torch.tensor([0, 0]))
        train(replace(task, settings=settings), start, both, clients)
    for name, values in model.module.named_buffers():
        if not values.equal(before[name]):
            raise UserError(
                f"{told}: {name} changes in training, and would be shared by all clients; use a "
                "layer that counts nothing, e.g. LayerNorm"
            )


def _check_outputs(model: Model, x: Tensor) -> None:
    """Refuse a user's router or expert whose outputs for x ``(B, d)`` are not what they must be."""
    settings, classes = model.config.model, shape_of(model.config).classes
    device: dict[str, Parameters] = {"router": {}, "experts": {}}
    for name, rows in model.devices([0]).items():
        part, _, buffer = name.partition(".")
        device[part][buffer] = rows[0]
    with torch.no_grad():
        angles, inputs = model.module.parts(x)
        weights = functional_call(model.module.router, device["router"], angles)
        outputs = functional_call(model.module.experts, device["experts"], inputs)
    if weights.shape != (len(x), settings.num_experts):
        raise UserError(
            f"router {settings.router!r} returns shape {tuple(weights.shape)} for x of shape "
            f"{tuple(x.shape)}: expected one weight per expert, {(len(x), settings.num_experts)}"
        )
    if not ((weights >= -1e-3).all() and ((weights.sum(-1) - 1).abs() < 1e-3).all()):
        raise UserError(
            f"router {settings.router!r} returns {weights[0].tolist()} for the first sample: "
            "expected weights that are not negative and sum to 1; end it with softmax(-1)"
        )
    if outputs.shape != (len(x), settings.num_experts, classes):
        raise UserError(
            f"expert {settings.expert!r} returns shape {(len(x), *outputs.shape[2:])} for x of "
            f"shape {tuple(x.shape)}: expected one score per class, {(len(x), classes)}"
        )
