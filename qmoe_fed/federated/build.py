"""From the config of a run to its rules: what varies is chosen by name or by import path."""

import inspect
from collections.abc import Sequence
from functools import partial

import torch

from qmoe_fed.config import Config, StrategyConfig
from qmoe_fed.config.plugins import AGGREGATORS, MECHANISMS, SERVER_STEPS, load_object
from qmoe_fed.config.settings import named, parse_options
from qmoe_fed.errors import UserError
from qmoe_fed.federated.mechanism import Mechanism
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import Aggregator, Rules, ServerStep, TooFewClients, sample_size
from qmoe_fed.federated.updates import Limits

ROUTER = "router"
"""The name of the strategy that heeds all settings."""


def make_rules(config: Config) -> Rules:
    """Return how the server of a run works; UserError if its parts cannot go together."""
    federation, settings, model = config.federation, config.strategy, Model(config)
    mechanisms = make_mechanisms(config)
    check_chain(config, mechanisms)
    largest = federation.num_clients
    if federation.sampling == "fixed":
        largest = sample_size(largest, federation.fraction_train)
    return Rules(
        num_clients=federation.num_clients,
        aggregator=make_aggregator(settings, largest),
        server_step=make_server_step(settings),
        seed=federation.seed,
        fraction_train=federation.fraction_train,
        sampling=federation.sampling,
        limits=Limits(model.max_update_norm, settings.max_weight),
        quorum=settings.quorum,
        weighting=settings.weighting,
        mechanisms=mechanisms,
        trained_by=model.trained_by if len(config.model.depths) > 1 else None,
    )


def make_aggregator(settings: StrategyConfig, cohort_size: int) -> Aggregator:
    """Return the aggregator a config names, for rounds of so many clients at most.

    A built-in one takes the settings that are its keyword arguments. UserError if rounds are too
    small for it, it has no use for weights, or it cannot be loaded.
    """
    name, given = settings.aggregator, vars(settings)
    rule: Aggregator = load_object(AGGREGATORS.get(name, name), "aggregator")
    if name not in AGGREGATORS:
        return _tried(rule, name, cohort_size)
    if name != "mean" and settings.weighting != "uniform":
        raise UserError(
            f"weighting = {settings.weighting!r}: {name} does not use weights; "
            "set weighting = 'uniform' or aggregator = 'mean'"
        )
    if keywords := inspect.signature(rule).parameters.keys() & given.keys():
        rule = partial(rule, **{keyword: given[keyword] for keyword in keywords})
    try:
        rule(torch.zeros(cohort_size, 1), torch.ones(cohort_size))
    except TooFewClients as error:
        raise UserError(f"aggregator = {name!r}: {error}") from error
    return rule


def _tried(rule: Aggregator, name: str, cohort_size: int) -> Aggregator:
    """Return a user's aggregator, if it makes one update of many."""
    try:
        result = rule(torch.zeros(cohort_size, 1), torch.ones(cohort_size))
    except Exception as error:  # of a user's code: anything
        told = f"fails with updates ({cohort_size}, 1) and weights ({cohort_size},): {error}"
        raise UserError(f"aggregator = {name!r}: {told}") from error
    if not (isinstance(result, torch.Tensor) and result.shape == (1,)):
        shaped = isinstance(result, torch.Tensor)
        told = f"returns {f'shape {tuple(result.shape)}' if shaped else f'{result!r}'[:80]}"
        told += ", expected a tensor of shape (1,)"
        raise UserError(f"aggregator = {name!r}: for updates ({cohort_size}, 1) it {told}")
    return rule


def make_server_step(settings: StrategyConfig) -> ServerStep:
    """Return the server step a config names; β₂ of Adam is the paper's 0.99."""
    lr, momentum = settings.server_learning_rate, settings.server_momentum
    options = {"plain": (lr,), "momentum": (lr, momentum), "adam": (lr, (momentum, 0.99))}
    name = settings.server_step
    step: ServerStep = load_object(SERVER_STEPS[name], "server step")(*options[name])
    return step


def make_mechanisms(config: Config) -> tuple[Mechanism, ...]:
    """Return the mechanisms a config names, in order; UserError if a name or option is wrong."""
    names = [name.strip() for name in config.privacy.mechanisms.split(",") if name.strip()]
    options = parse_options("mechanism-options", config.privacy.mechanism_options)
    owners = sum(":" in name for name in names)
    if options and owners != 1:
        raise UserError(
            f"mechanism-options = {config.privacy.mechanism_options!r}: they belong to the one "
            f"mechanism that is named by import path; mechanisms names {owners} of these"
        )
    return tuple(_make(name, config, options if ":" in name else {}) for name in names)


def _make(name: str, config: Config, options: dict[str, object]) -> Mechanism:
    named(*MECHANISMS)("mechanism", name)
    kind = load_object(MECHANISMS.get(name, name), "mechanism")
    if not (isinstance(kind, type) and issubclass(kind, Mechanism)):
        raise UserError(f"mechanism {name!r}: is not a class derived from strategies.Mechanism")
    try:
        return kind.from_config(config, options)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"mechanism {name!r}, mechanism-options {options}: {error}") from error


def check_chain(config: Config, mechanisms: Sequence[Mechanism]) -> None:
    """Have every mechanism refuse what it cannot go with; errors as ``Mechanism.check``."""
    for mechanism in mechanisms:
        mechanism.check(config, mechanisms)
