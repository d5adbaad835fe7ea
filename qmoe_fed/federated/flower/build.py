"""From the config of a run to a strategy of Flower's kind: ours, a user's, or Flower's own."""

import inspect
from dataclasses import fields

from flwr.serverapp.strategy import Strategy

from qmoe_fed.config import Config, StrategyConfig, load_object
from qmoe_fed.config.settings import kebab, parse_options
from qmoe_fed.errors import UserError
from qmoe_fed.federated.build import ROUTER, check_chain, make_mechanisms, make_rules
from qmoe_fed.federated.flower.hosts import Hosts
from qmoe_fed.federated.flower.strategy import RouterStrategy


def make_strategy(config: Config, hosts: Hosts, angles: frozenset[str]) -> Strategy:
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
    kind = RouterStrategy if path == ROUTER else load_object(path, "strategy")
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise UserError(f"strategy = {path!r}: is not a class derived from Flower's Strategy")
    options = parse_options("strategy-options", config.strategy.strategy_options)
    if issubclass(kind, RouterStrategy):
        arguments = {"hosts": hosts, "angles": angles, **vars(make_rules(config))}
        if both := sorted(arguments.keys() & options.keys()):
            raise UserError(f"strategy-options: {', '.join(both)} have settings of their own")
    else:
        _refuse_router_settings(config)
        arguments = _flower_defaults(kind, config)
    try:
        return kind(**{**arguments, **options})
    except (TypeError, ValueError) as error:
        raise UserError(f"strategy = {path!r}: {error}") from error


def _refuse_router_settings(config: Config) -> None:
    """Refuse settings that only RouterStrategy would heed."""
    mechanisms = make_mechanisms(config)
    ours = {
        kebab(item.name): getattr(config.strategy, item.name) == item.default
        for item in fields(StrategyConfig)
        if item.name not in ("strategy", "strategy_options")
    }
    ours["sampling"] = config.federation.sampling == "fixed"
    ours["mechanisms"] = not any(m.runs_on_server for m in mechanisms)
    if ignored := sorted(name for name, unchanged in ours.items() if not unchanged):
        raise UserError(
            f"strategy = {config.strategy.strategy!r} would ignore {', '.join(ignored)}: only "
            "strategy = 'router' and classes derived from it heed these; Flower's own take "
            "strategy-options"
        )
    check_chain(config, mechanisms)


def _flower_defaults(kind: type[Strategy], config: Config) -> dict[str, object]:
    wanted = {
        "fraction_train": config.federation.fraction_train,
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_available_nodes": 1,
    }
    accepted = inspect.signature(kind).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    return {name: value for name, value in wanted.items() if anything or name in accepted}
