"""From the config of a run to its strategy."""

import inspect
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from flwr.serverapp.strategy import Strategy

from qmoe_fed.config import Config, StrategyConfig
from qmoe_fed.config.plugins import load_object
from qmoe_fed.config.settings import kebab, parse_options
from qmoe_fed.errors import UserError
from qmoe_fed.federated.hosts import Hosts
from strategies.aggregators import make_aggregator
from strategies.gate import Limits
from strategies.mechanisms import Mechanism, make_mechanisms
from strategies.router_strategy import RouterStrategy
from strategies.sampling import sample_size
from strategies.server_steps import make_server_step


def from_config(config: Config, hosts: Hosts, angles: frozenset[str]) -> Strategy:
    """Return the strategy a config names, after checking that its parts go together.

    ``strategy`` is ``"router"`` or the import path of a class: one derived from ``RouterStrategy``
    gets all settings and ``strategy-options`` as keyword arguments, any other Flower strategy
    (e.g. ``"flwr.serverapp.strategy:FedMedian"``) ``fraction-train`` and ``strategy-options``.

    Args:
        config: The run.
        hosts: Which node hosts which client.
        angles: Names of the parameters that are angles, shared or not.

    Raises:
        UserError: Something cannot be loaded, or settings cannot go together.
    """
    path = config.strategy.strategy
    kind = RouterStrategy if path == "router" else load_object(path, "strategy")
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise UserError(f"strategy = {path!r}: is not a class derived from Flower's Strategy")
    mechanisms = make_mechanisms(config)
    if not issubclass(kind, RouterStrategy):
        _refuse_router_settings(config, path, mechanisms)
    for mechanism in mechanisms:
        mechanism.check(config, mechanisms)
    options = parse_options("strategy-options", config.strategy.strategy_options)
    if issubclass(kind, RouterStrategy):
        arguments = _parts(config, hosts, angles, mechanisms)
        if both := sorted(arguments.keys() & options.keys()):
            raise UserError(f"strategy-options: {', '.join(both)} have settings of their own")
    else:
        arguments = _flower_defaults(kind, config)
    try:
        return kind(**{**arguments, **options})
    except (TypeError, ValueError) as error:
        raise UserError(f"strategy = {path!r}: {error}") from error


def _parts(
    config: Config, hosts: Hosts, angles: frozenset[str], mechanisms: Sequence[Mechanism]
) -> dict[str, Any]:
    federation, settings = config.federation, config.strategy
    largest = federation.num_clients
    if federation.sampling == "fixed":
        largest = sample_size(largest, federation.fraction_train)
    return {
        "hosts": hosts,
        "num_clients": federation.num_clients,
        "seed": federation.seed,
        "fraction_train": federation.fraction_train,
        "sampling": federation.sampling,
        "limits": Limits(settings.max_update_norm, settings.max_weight),
        "quorum": settings.quorum,
        "weighting": settings.weighting,
        "aggregator": make_aggregator(settings, largest),
        "server_step": make_server_step(settings),
        "mechanisms": mechanisms,
        "angles": angles,
    }


def _refuse_router_settings(config: Config, path: str, mechanisms: Sequence[Mechanism]) -> None:
    """Refuse settings that only RouterStrategy would heed."""
    ours = {
        kebab(item.name): getattr(config.strategy, item.name) == item.default
        for item in fields(StrategyConfig)
        if item.name not in ("strategy", "strategy_options")
    }
    ours["sampling"] = config.federation.sampling == "fixed"
    ours["mechanisms"] = not any(m.runs_on_server for m in mechanisms)
    if ignored := sorted(name for name, unchanged in ours.items() if not unchanged):
        raise UserError(
            f"strategy = {path!r} would ignore {', '.join(ignored)}: only strategy = 'router' and "
            "classes derived from it heed these; Flower's own take strategy-options"
        )


def _flower_defaults(kind: type[Strategy], config: Config) -> dict[str, Any]:
    wanted = {
        "fraction_train": config.federation.fraction_train,
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_available_nodes": 1,
    }
    accepted = inspect.signature(kind).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    return {name: value for name, value in wanted.items() if anything or name in accepted}
