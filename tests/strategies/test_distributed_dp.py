import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.serverapp.exception import PrivacyBudgetExhausted

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.build import make_rules
from qmoe_fed.federated.hidden import Refused
from qmoe_fed.federated.rules import sample_clients
from qmoe_fed.federated.updates import ClientTable, Cohort
from strategies import skellam
from strategies.audits.bounds import lower_bounds
from strategies.distributed_dp import DistributedDP
from strategies.secure_sum.fixed_point import dequantise
from strategies.skellam import Release

PRIVATE = {
    "expert-fit": "gradient",
    "mechanisms": "distributed-dp",
    "num-clients": 40,
    "num-unseen-clients": 0,
    "num-server-rounds": 10,
    "train-samples": 8,
    "local-epochs": 1,
    "clip-norm": 0.5,
    "noise-multiplier": 3.0,
}
HONEST = 36 - 4  # a tenth may drop out, a tenth be corrupt


def build(**changes) -> DistributedDP:
    flat = {**PRIVATE, **{key.replace("_", "-"): value for key, value in changes.items()}}
    return make_rules(Config.from_flat(flat)).mechanisms[-1]


def cohort(rows):
    updates = torch.as_tensor(np.asarray(rows, dtype=np.float64))
    ones = torch.ones(len(updates), dtype=torch.float64)
    return Cohort(tuple(range(len(updates))), updates, ones, ones)


def table(mechanism, rows):
    columns = torch.as_tensor(np.asarray(rows, dtype=np.float64)).T
    names = dict(zip(mechanism.scores, columns, strict=True))
    return ClientTable(torch.arange(len(rows)), names)


def summed(mechanism, rows, number=1, clients=None, asked=None):
    """Return the sum of what some clients share, in the unit of the blocks, ``(d,)``."""
    whole = mechanism._integers("train", number, cohort(rows), asked or {})
    total = sum(whole[client] for client in (whole if clients is None else clients))
    return dequantise(total, mechanism.settings["train"].blocks)


def test_the_noise_of_the_fewest_honest_clients_is_what_is_accounted_for():
    mechanism = build()
    release = mechanism.parts["train"].release
    assert release == Release(skellam.longest(2.0**24, 6), 6, (3.0 * 2**24) ** 2)
    assert mechanism.settings["train"].least == 36
    zeros = np.zeros((40, 6))
    sums = [summed(mechanism, zeros, 1, range(HONEST)) for _ in range(200)]
    assert np.var(sums) == pytest.approx(9.0, rel=5 * math.sqrt(2 / 1200))
    assert np.mean(sums) == pytest.approx(0, abs=5 * 3 / math.sqrt(1200))


def test_noise_of_the_seed_is_repeated_and_other_in_every_round_and_sum():
    first, again = build(noise_source="seed"), build(noise_source="seed")
    zeros = np.zeros((40, 6))
    assert (summed(first, zeros) == summed(again, zeros)).all()
    draws = [summed(first, zeros, number) for number in range(1, 10)]
    scores = first._integers("score", 1, table(first, np.full((40, 7), 0.5)), {})
    draws.append(np.array(sum(scores.values()))[:6])
    assert len(np.unique(np.array(draws))) == 60
    assert build().config.privacy.noise_source == "system"
    assert (summed(build(), zeros) != summed(build(), zeros)).all()


def test_the_mean_is_that_of_the_clipped_updates_and_noise():
    federation = Federation(Config.from_flat({**PRIVATE, "noise-source": "seed"}))
    state = federation.init()
    _, sent = federation.host.train(state.kept, state.shared, range(40), 1)
    clipped = sent.updates * (0.5 / sent.updates.norm(dim=1, keepdim=True).clamp(min=0.5))
    mechanism = build(noise_source="seed")
    noise = summed(mechanism, np.zeros((40, 6))) * 0.5 / 40
    after, report = federation.round(state)
    moved = federation.model.layout.flat(after.shared) - federation.model.layout.flat(state.shared)
    expected = clipped.mean(0) + torch.from_numpy(noise)
    difference = torch.remainder(moved - expected + math.pi, 2 * math.pi) - math.pi
    assert float(difference.abs().max()) < 1e-6
    assert "train-loss" not in report.metrics
    assert report.metrics["clients-accepted"] == 40
    assert report.metrics["epsilon"] > report.metrics["epsilon-round"]  # for scores, before and now


def test_a_client_that_is_too_long_or_no_number_moves_the_sum_by_the_norm_at_most():
    mechanism = build(noise_source="seed")
    zeros, rows = np.zeros((40, 6)), np.zeros((40, 6))
    rows[3], rows[7], rows[9, 0] = 1e30, math.nan, math.inf
    change = summed(mechanism, rows) - summed(mechanism, zeros)
    assert np.linalg.norm(change) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(change) <= mechanism.parts["train"].release.norm * 2.0**-24
    alone = mechanism._integers("train", 1, cohort(rows), {})
    nothing = mechanism._integers("train", 1, cohort(zeros), {})
    assert (alone[7] == nothing[7]).all()
    assert alone.keys() == nothing.keys()  # who survives does not hang on what a client has


def clipped_share(quantile):
    return {"clip": "adaptive", "clip_quantile": quantile, "num_clients": 400}


def test_the_count_of_an_adaptive_norm_is_part_of_the_same_release():
    mechanism = build(**clipped_share(0.5))
    release, (_, bit) = mechanism.parts["train"].release, mechanism.parts["train"].blocks
    assert release.size == 7
    assert release.norm == skellam.longest(math.hypot(1, bit.clip) * 2.0**24, 7)
    # as one Gaussian of the multiplier given: more noise, on a longer row
    assert math.sqrt(release.variance) / release.norm == pytest.approx(3.0, rel=1e-6)
    assert math.sqrt(release.variance) / (2 * bit.clip * 2**24) == pytest.approx(400 / 20)


def test_the_norm_follows_the_quantile_whatever_norm_a_host_is_told():
    mechanism = build(**clipped_share(0.8))
    rows = np.random.default_rng(0).normal(size=(400, 1)) * np.full((1, 6), 0.02)
    steps = []
    for norm in (0.5, 1e-3):
        mechanism.clip_norm = norm
        asked = {"clip": np.array([norm]).tobytes()}
        sums = summed(mechanism, rows, 1, asked=asked)
        mean = mechanism._mean("train", sums, 400)
        assert mean[-1] == 0
        assert np.linalg.norm(mean) < 6 * norm * 3 * math.sqrt(7) / 300
        steps.append(math.log(mechanism.clip_norm / norm))
    noise = 0.2 * 5 * math.sqrt(400 / 320) / 20
    assert steps == pytest.approx([-0.2 * 0.2, 0.2 * 0.8], abs=noise)
    for wrong in (b"", b"\0" * 8, np.array([math.nan]).tobytes(), np.array([-1.0]).tobytes()):
        with pytest.raises((Refused, IndexError)):
            summed(mechanism, rows, asked={"clip": wrong})


def test_scores_are_means_with_noise_within_their_ranges_and_one_row_is_bounded():
    mechanism = build(score_noise=2 / 3, noise_source="seed")
    part = mechanism.parts["score"]
    rows = np.tile([0.9, 0.3, 1.5, 0.4, 0.3, 0.2, 0.1], (40, 1))
    lower = mechanism._integers("score", 1, table(mechanism, rows), {})
    rows[5] = [1, 1e9, 2, 1, 0, 0, 0]  # the most that is counted
    upper = mechanism._integers("score", 1, table(mechanism, rows), {})
    rows[5] = math.nan
    nothing = mechanism._integers("score", 1, table(mechanism, rows), {})
    for one in (lower, upper):
        assert np.linalg.norm(one[5] - nothing[5]) <= part.release.norm
    assert np.linalg.norm(upper[5] - nothing[5]) == pytest.approx(part.release.norm, rel=1e-6)
    quiet = dequantise(sum(lower.values()), part.blocks)
    mean = mechanism._mean("score", quiet, 40)
    assert (mean >= 0).all()
    assert (mean <= [1, 2 * math.log(2), 2, 1, 1, 1, 1]).all()
    deviation = 2.0 * math.sqrt(1.5) * math.sqrt(40 / HONEST) / 40
    assert mean[0] == pytest.approx(0.9, abs=4 * deviation)


def test_one_account_for_updates_and_scores_of_each_client():
    mechanism = build(fraction_train=0.75, seed=3, evaluate_every=4, corrupt_fraction=0.05)
    train, score = mechanism.parts["train"].release, mechanism.parts["score"].release
    for number in range(1, 6):
        mechanism.before_round(number)
    rounds = [sample_clients(40, 0.75, "fixed", 3, number) for number in range(1, 6)]
    counts = [sum(client in clients for clients in rounds) for client in range(40)]
    account = [skellam.epsilon(((train, n), (score, 2)), 1e-5) for n in counts]  # scores of 0, 4
    found = mechanism.metrics()
    assert found["epsilon"] == pytest.approx(max(account))
    assert found["epsilon-mean"] == pytest.approx(np.mean(account))
    assert found["epsilon-round"] == skellam.epsilon(((train, 1),), 1e-5)
    for number in range(6, 11):
        mechanism.before_round(number)
    most = int(mechanism.spent.max())
    expected = skellam.epsilon(((train, most), (score, 4)), 1e-5)  # of 8 and the last, 10, too
    assert mechanism.metrics()["epsilon"] == pytest.approx(expected)


def test_the_run_ends_before_the_budget_is_exceeded_and_a_resumed_one_knows_what_was_spent():
    free = build(**clipped_share(0.5))
    for number in (1, 2):
        free.before_round(number)
    limit = free.metrics()["epsilon"] + 1e-9
    first, second = (build(max_epsilon=limit, **clipped_share(0.5)) for _ in "ab")
    first.before_round(1)
    first.clip_norm = 0.123
    second.load_state_dict(first.state_dict())
    assert (second.clip_norm, second.attempt) == (0.123, 1)
    second.before_round(2)
    assert second.metrics()["epsilon"] <= limit
    with pytest.raises(PrivacyBudgetExhausted, match="round 3 would spend ε = "):
        second.before_round(3)


def test_hosts_refuse_sums_that_their_settings_do_not_have():
    mechanism = build(fraction_train=0.75, evaluate_every=4, corrupt_fraction=0.05)
    due = sample_clients(40, 0.75, "fixed", 0, 1)
    rows = replace(cohort(np.zeros((30, 6))), clients=tuple(due))
    assert list(mechanism._integers("train", 1, rows, {})) == due
    with pytest.raises(Refused, match="train, round 2: a sum that this host's settings do not"):
        mechanism._integers("train", 2, rows, {})
    scores = table(mechanism, np.zeros((40, 7)))
    for number, good in ((0, True), (3, False), (4, True), (10, True)):
        if good:
            mechanism._integers("score", number + 1, scores, {})
            continue
        with pytest.raises(Refused, match="score, round 4: a sum that"):
            mechanism._integers("score", number + 1, scores, {})


def test_a_canary_shows_no_more_than_is_stated_and_a_broken_variant_is_caught():
    """One round, seen by the server and all corrupt clients when as few as may be are left."""
    mechanism = build(noise_multiplier=1.0, noise_source="seed", num_clients=20)
    stated = skellam.epsilon(((mechanism.parts["train"].release, 1),), 1e-5)
    seen = np.zeros((2, 2, 300))
    for there in (0, 1):
        updates = np.zeros((20, 6))
        updates[0] = 30.0 * there
        for run in range(300):
            whole = mechanism._integers("train", 1 + 2 * run + there, cohort(updates), {})
            # 18 survivors, 2 of them corrupt; with 4 honest ones there is half the noise
            for broken, honest in enumerate((16, 4)):
                seen[broken, there, run] = sum(whole[client].sum() for client in range(honest))
    good, broken = (lower_bounds(*one, 1e-5).gaussian for one in seen)
    assert 0.5 * stated < good < stated < broken


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sampling": "poisson"}, "with sampling = 'poisson': .* no credit for chance"),
        ({"aggregator": "median"}, "mechanisms = 'distributed-dp' with aggregator = 'median'"),
        ({"weighting": "examples"}, "does not tell how many samples"),
        ({"fixed_point_bits": 11}, "fixed-point-bits = 11: distributed-dp takes 12 to 30"),
        ({"fixed_point_bits": 31}, "fixed-point-bits = 31: distributed-dp takes 12 to 30"),
        ({"fixed_point_bits": 12, "noise_multiplier": 0.01}, "it has 52.4"),
        ({"max_epsilon": 0.5}, r"one round already spends 1\.\d+ with noise-multiplier = 3"),
        ({"clip": "adaptive", "num_clients": 20}, "20 clients expected in a round: needs"),
        ({"mechanisms": "local-dp, distributed-dp"}, "'local-dp' must be the last"),
        ({"mechanisms": "central-dp, distributed-dp", "quorum": 0.0}, "must be the last and the"),
        ({"dropout_fraction": 0.9}, "the sum would show one client's vector"),
    ],
)
def test_what_would_make_the_epsilon_untrue_is_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        build(**changes)
