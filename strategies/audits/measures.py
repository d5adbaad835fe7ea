"""The audits as cells of a study: settings of a run in, a row per seed out."""

from collections.abc import Mapping
from dataclasses import asdict

import torch

from qmoe_fed.config import Config
from qmoe_fed.config.plugins import load_object
from qmoe_fed.config.settings import Scalar
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.cells import Measured, Row
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.hidden import hidden_sum
from qmoe_fed.federated.model import Model
from qmoe_fed.learning.routing import ROUTER
from qmoe_fed.learning.solving import PRIOR, RIDGE, SCALE, SLOPE
from strategies.audits import epsilon, inversion, membership
from strategies.audits.property import label_r2
from strategies.audits.utility import stated, utility
from strategies.audits.views import class_shares, crowd, samples_of, sent_in_rounds

Settings = Mapping[str, Scalar]

NEAR = 0.1
"""A sample is recovered within so many radians; angles lie in [0, π]."""

PARTS = {"of_router": (ROUTER,), "of_ridge": (RIDGE, SLOPE, SCALE), "of_prior": (PRIOR,)}
"""What the names of shared parameters begin with that are looked at alone."""


def properties(settings: Settings, rounds: int) -> Measured:
    """Return R² of the clients' class shares, from the first round and from several.

    And from several rounds of each of the ``PARTS`` alone; None where they do not travel.
    """
    config = Config.from_flat(settings)
    seen, shares = sent_in_rounds(config, rounds), class_shares(config)
    row: Row = {"first": label_r2(seen[0], shares), "all": label_r2(seen, shares)}
    layout = Model(config).layout
    columns = dict(zip(layout.names, seen.split(layout.sizes, -1), strict=True))
    for part, names in PARTS.items():
        own = [rows for name, rows in columns.items() if name.startswith(names)]
        row[part] = label_r2(torch.cat(own, -1), shares) if own else None
    return _row(config, **row)


def inversions(
    settings: Settings, targets: int, starts: int, steps: int, local_steps: int = 1
) -> Measured:
    """Return how far reconstructed samples are from the true ones, and guesses beside them.

    ``error`` is the mean distance in radians, ``by_mean`` that of guessing the mean of all samples,
    ``by_others`` that of guessing another client's samples, matched like those found; ``near`` the
    share of samples within 0.1; ``labels`` the share of right classes, ``labels_by_others`` that
    of the guess. Medians and means are over targets.
    """
    config = Config.from_flat(settings)
    truth, gradients = inversion.observe(config, targets, local_steps)
    found = inversion.invert(config, gradients, truth, starts, steps, local_steps)
    guess = samples_of(crowd(config, 2 * targets), range(targets, 2 * targets))
    pairs = zip(truth.x, guess.x, strict=True)
    order = torch.stack([inversion.matching(true, other) for true, other in pairs])
    guessed = guess.x.take_along_dim(order[..., None], 1)
    mean = guess.x.mean((0, 1)).expand_as(truth.x)
    return _row(
        config,
        parameters=gradients.shape[1],
        error=float(inversion.errors(truth.x, found.x).mean()),
        by_mean=float(inversion.errors(truth.x, mean).mean()),
        by_others=float(inversion.errors(truth.x, guessed).mean()),
        near=float(((truth.x - found.x).norm(dim=-1) < NEAR).double().mean()),
        near_by_others=float(((truth.x - guessed).norm(dim=-1) < NEAR).double().mean()),
        labels=float((truth.y == found.y).double().mean()),
        labels_by_others=float((truth.y == guess.y.take_along_dim(order, 1)).double().mean()),
        residual=float(found.residual.median()),
    )


def sample_memberships(settings: Settings, targets: int, worlds: int) -> Measured:
    """Return how well an update tells whether a mislabelled sample was among the client's."""
    config = Config.from_flat(settings)
    return _row(config, **asdict(membership.sample_membership(config, targets, worlds)))


def client_memberships(settings: Settings, targets: int, worlds: int, rounds: int = 1) -> Measured:
    """Return how well the releases of the first round, and of all, tell if a client took part."""
    config = Config.from_flat(settings)
    found = membership.client_membership(config, targets, worlds, rounds)
    first = {f"first_{name}": value for name, value in asdict(found[0]).items()}
    return _row(config, **asdict(found[-1]), **first)


def epsilons(settings: Settings, rounds: int, runs: int, canary: str) -> Measured:
    """Return the ε that a run's mechanism states after some rounds, and what it is at least."""
    config = Config.from_flat(settings)
    rules, delta, seed = make_rules(config), config.privacy.delta, config.federation.seed
    (mechanism,) = rules.mechanisms
    if hidden_sum(rules.mechanisms):
        found = epsilon.audit_sums(config, canary, rounds, runs, seed)
    elif mechanism.has_server_half:
        found = epsilon.audit_releases(rules, delta, canary, rounds, runs, seed)
    else:
        found = epsilon.audit_sent((mechanism,), delta, canary, rounds, runs, seed)
    return _row(config, claimed=stated(config, rounds), **asdict(found))


def utilities(
    settings: Settings, changes: Settings, epsilon: float, rounds: int, data_dir: str = ""
) -> Measured:
    """Return what a run with some changes is worth at an ε, and how far it is from without."""
    plain = {**settings, "data-dir": data_dir}
    config = Config.from_flat({**plain, **changes})
    return _row(config, **utility(config, Config.from_flat(plain), rounds, epsilon))


def own(settings: Settings, audit: str) -> Measured:
    """Return what a function that an import path names finds: ``(Config)`` → numbers by name.

    Raises:
        UserError: It returned something else.
    """
    config = Config.from_flat(settings)
    found = load_object(audit, "audit")(config)
    if not (isinstance(found, dict) and all(isinstance(v, int | float) for v in found.values())):
        raise UserError(f"audit {audit!r} returned {found!r}: expected a dict of numbers by name")
    return _row(config, **found)


def _row(config: Config, **columns: Scalar | None) -> Measured:
    return Measured([{"seed": config.federation.seed, **columns}])
