"""Empirical ε: canaries through the real rounds of a server, or the real halves of clients.

A canary is a client whose update is known and long. Who sees all releases of a run (``released``;
``summed`` where the server sees only sums) or all that the canary sent (``sent``) tries to say
whether it took part, or which of two updates it had. Three canaries are needed: one that is always
the same finds noise that is too small, one that alternates finds noise that repeats itself, one of
a single round finds rounds that differ.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from qmoe_fed import rng
from qmoe_fed.config import Config
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.hidden import OneHost, Sum, Wire, hidden_cohort, hidden_sum
from qmoe_fed.federated.mechanism import Mechanism, protect
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.rules import Rules, close_round, open_round
from qmoe_fed.federated.updates import Cohort, Layout
from strategies.audits.bounds import Bounds, lower_bounds, one_run_bound

CANARIES = "constant", "alternating", "single-round"
LENGTH = 30.0
"""L2 norm of a canary: far more than any norm that updates are clipped to, less than a gate's."""


def canary(kind: str, rounds: int) -> Tensor:
    """Return the factor of a canary in each round, ``(T,)``."""
    number = torch.arange(rounds)
    every = {"constant": number >= 0, "alternating": 1 - 2 * (number % 2)}
    return {**every, "single-round": number == rounds // 2}[kind].double()


def direction(size: int) -> Tensor:
    """Return the unit vector ``(P,)`` that canaries point along."""
    return torch.full((size,), size**-0.5, dtype=torch.float64)


def released(
    rules: Rules, factors: Tensor, present: bool, runs: int, size: int = 6, seed: int = 0
) -> Tensor:
    """Return what the server released in each round of many runs, ``(runs, T, P)``.

    Client 0 is the canary and sends ``factors`` · LENGTH · direction, or nothing if absent; all
    others send zeros. What a round changes in the shared parameters is its release; 0 if it does
    not count.

    Args:
        rules: As ``make_rules`` returns them for a run.
        factors: Of the canary in each round, ``(T,)``.
        present: Whether the canary takes part.
        runs: How many.
        size: P.
        seed: Runs of one seed are the same again if their noise comes from the seed.
    """
    layout, seen = Layout({"x": (size,)}), torch.zeros(runs, len(factors), size).double()
    rows = factors[:, None] * LENGTH * direction(size)
    seeds = rng.generator(seed, f"audit/{present}").integers(2**62, size=runs)
    for run in range(runs):
        own = replace(rules, mechanisms=deepcopy(rules.mechanisms), seed=int(seeds[run]))
        shared, step = torch.zeros(size, dtype=torch.float64), None
        for number in range(1, len(factors) + 1):
            sampled = open_round(own, number)
            there = [client for client in sampled if client or present]
            cohort = _cohort(there, size)
            if there and not there[0]:
                cohort.updates[0] = rows[number - 1]
            end = close_round(own, number, len(sampled), cohort, (), layout, shared, step)
            if end.values is not None:
                seen[run, number - 1], shared, step = end.values - shared, end.values, end.step
    return seen


def summed(config: Config, factors: Tensor, present: bool, runs: int, seed: int = 0) -> Tensor:
    """Return the mean that the server learns in each round of many runs, ``(runs, T, P)``.

    As ``released``, through a mechanism that hides rows, all its cryptography done. An absent
    canary takes part with a row of noughts; a round in which no sum is opened leaves noughts.
    """
    layout, clients = Model(config).layout, range(config.federation.num_clients)
    seen = torch.zeros(runs, len(factors), layout.size).double()
    rows = present * factors[:, None] * LENGTH * direction(layout.size)
    seeds = rng.generator(seed, f"audit/{present}").integers(2**62, size=runs)
    for run in range(runs):
        federation = replace(config.federation, seed=int(seeds[run]))
        rules, vault = make_rules(replace(config, federation=federation)), Wire()
        hidden, shared = (
            hidden_sum(rules.mechanisms),
            layout.parameters(seen.new_zeros(layout.size)),
        )
        assert hidden is not None
        for number in range(1, len(factors) + 1):
            sampled = open_round(rules, number)
            cohort = _cohort(sampled, layout.size)
            if sampled and not sampled[0]:
                cohort.updates[0] = rows[number - 1]
            place = OneHost(hidden, vault, clients, (shared, cohort))
            what = Sum("train", number, shared, sampled)
            opened, _ = hidden_cohort(hidden, rules, what, layout, place)
            vault = place.vault
            if opened.clients:
                seen[run, number - 1] = opened.updates[0]
    return seen


def _cohort(clients: Sequence[int], size: int) -> Cohort:
    ones = torch.ones(len(clients), dtype=torch.float64)
    return Cohort(tuple(clients), torch.zeros(len(clients), size).double(), ones, ones)


def sent(
    mechanisms: Sequence[Mechanism], factors: Tensor, runs: int, size: int = 6, seed: int = 0
) -> Tensor:
    """Return what a client sends in each round of many runs, ``(runs, T, P)``.

    Its update is ``factors`` · LENGTH · direction. Runs stand side by side, as clients of one host.
    """
    rows = factors[:, None, None] * LENGTH * direction(size).expand(runs, -1)
    out = []
    for number, updates in enumerate(rows, 1):
        sent = protect(tuple(mechanisms), updates, range(runs), number, seed)
        out.append(sent.float().double())
    return torch.stack(out, 1)


def matched(seen: Tensor, factors: Tensor) -> np.ndarray:
    """Return how much what was seen ``(runs, T, P)`` resembles the canary, ``(runs,)``."""
    scores: np.ndarray = ((seen @ direction(seen.shape[-1])) @ factors).numpy()
    return scores


def audit_releases(
    rules: Rules, delta: float, kind: str, rounds: int = 1, runs: int = 1000, seed: int = 0
) -> Bounds:
    """Return what ε is at least for who sees all releases: a client added or removed.

    Args:
        rules: As ``make_rules`` returns them for a run.
        delta: At which ε is stated.
        kind: One of ``CANARIES``.
        rounds: Of a run.
        runs: With and without the canary, so many each; 95% confidence.
        seed: Of the audit.
    """
    factors = canary(kind, rounds)
    without, with_it = (
        matched(released(rules, factors, present, runs, seed=seed), factors)
        for present in (False, True)
    )
    return lower_bounds(without, with_it, delta)


def audit_sums(
    config: Config, kind: str, rounds: int = 1, runs: int = 1000, seed: int = 0
) -> Bounds:
    """Return what ε is at least for who sees all sums: a client's update against noughts.

    Args:
        config: A run with a mechanism that hides rows.
        kind: As the other arguments, of ``audit_releases``.
        rounds: Of a run.
        runs: With and without the canary.
        seed: Of the audit.
    """
    factors = canary(kind, rounds)
    without, with_it = (
        matched(summed(config, factors, present, runs, seed), factors) for present in (False, True)
    )
    return lower_bounds(without, with_it, config.privacy.delta)


def audit_sent(
    mechanisms: Sequence[Mechanism],
    delta: float,
    kind: str,
    rounds: int = 1,
    runs: int = 1000,
    seed: int = 0,
) -> Bounds:
    """Return what ε is at least for who sees all that a client sends: its update replaced.

    Arguments as those of ``audit_releases``.
    """
    factors = canary(kind, rounds)
    without, with_it = (
        matched(sent(mechanisms, sign * factors, runs, seed=2 * seed + (sign > 0)), factors)
        for sign in (-1, 1)
    )
    return lower_bounds(without, with_it, delta)


def audit_one_run(
    rules: Rules, delta: float, rounds: int = 1, guesses: int = 0, seed: int = 0
) -> float:
    """Return what ε is at least for who sees all releases of a single run.

    Every client of the run is a canary along an axis of its own and takes part if its coin says so.
    The attacker guesses that those with the highest scores do and those with the lowest do not.

    Args:
        rules: Of a run with many clients, say 1000, all of them in every round.
        delta: At which ε is stated.
        rounds: Of the run.
        guesses: On how many canaries; 0: on a fifth.
        seed: Of coins and, if it comes from a seed, noise.
    """
    count = rules.num_clients
    coins = rng.generator(seed, "audit/coins").random(count) < 0.5
    there = np.flatnonzero(coins).tolist()
    own = replace(rules, mechanisms=deepcopy(rules.mechanisms), seed=seed)
    layout, scores = Layout({"x": (count,)}), torch.zeros(count).double()
    for number in range(1, rounds + 1):
        sampled = open_round(own, number)
        cohort = _cohort(there, count)
        cohort.updates[range(len(there)), there] = LENGTH
        end = close_round(own, number, len(sampled), cohort, (), layout, 0 * scores, None)
        if end.values is not None:
            scores = scores + end.values
    order, half = scores.argsort().numpy(), (guesses or count // 5) // 2
    right = int(coins[order[-half:]].sum() + (~coins[order[:half]]).sum())
    return one_run_bound(right, 2 * half, count, delta)
