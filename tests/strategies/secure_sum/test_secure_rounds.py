"""Rounds of a federation in this process, with all cryptography really done."""

import math
from dataclasses import replace

import pytest
import torch

from qmoe_fed.config import Config
from qmoe_fed.federated import federation as module
from qmoe_fed.federated.federation import Federation
from qmoe_fed.models import wrap

CLIP = 0.3
SMALL = {
    "num-clients": 12,
    "num-unseen-clients": 0,
    "train-samples": 20,
    "test-samples": 4,
    "batch-size": 8,
    "local-epochs": 2,
    "clip-norm": CLIP,
    "expert-fit": "gradient",
    "mechanisms": "secure-sum",
}
ENCRYPTED = {"mechanisms": "encrypted-sum"}
DEPTHS = {"layers": "1..3", "qubits": 2}
IMAGES = {"dataset": "digits", "weighting": "examples", "qubits": 4, "max-weight": 100.0}


def of(**changes):
    changes = {name.replace("_", "-"): value for name, value in changes.items()}
    return Federation(Config.from_flat({**SMALL, **changes}))


def clipped_mean(federation, state, clients):
    """Return mean update and mean loss of some clients as a server that sees all makes them."""
    _, cohort = federation.host.train(state.kept, state.shared, clients, state.round + 1)
    norms = cohort.updates.norm(dim=1, keepdim=True)
    assert (norms > CLIP).any()
    trained = federation.model.trained_by(clients).double()
    weighted = federation.config.strategy.weighting == "examples"
    weights = (cohort.weights if weighted else torch.ones(len(clients))).double()[:, None] * trained
    clipped = cohort.updates * (CLIP / norms.clamp(min=CLIP))
    return (weights * clipped).sum(0) / weights.sum(0).clamp(min=1e-9), cohort.losses.mean()


def moved(federation, before, after):
    flat, is_angle = federation.model.layout.flat, federation.model.layout.is_angle
    change = flat(after.shared) - flat(before.shared)
    return torch.where(is_angle, wrap(change), change)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"malicious_server": True, "fraction_train": 0.75},
        {"share": "all", "num_clients": 25},
        IMAGES,
        DEPTHS,
        {"share": "none"},
        ENCRYPTED,
        {**ENCRYPTED, "he_scheme": "ckks", "key_client": 11},
        {**ENCRYPTED, "share": "all", "num_clients": 25, "key_client": -1},
        {**ENCRYPTED, "share": "prior", "expert_fit": "solve"},
        {**ENCRYPTED, **IMAGES},
        {**ENCRYPTED, **DEPTHS},
        {**ENCRYPTED, "share": "none", "fraction_train": 0.75},
    ],
)
def test_a_round_is_the_clipped_mean_to_the_rounding(changes):
    federation = of(**{k.replace("-", "_"): v for k, v in changes.items()})
    state = federation.init()
    for _ in range(2):
        after, report = federation.round(state)
        assert report.counted
        asked = report.metrics["clients-accepted"]
        assert asked == report.metrics["clients-sampled"]
        if asked == federation.config.federation.num_clients and state.shared:
            mean, loss = clipped_mean(federation, state, range(asked))
            # parameters are float32; each of the clients rounds by less than 2^-24
            assert (moved(federation, state, after) - mean).abs().max() < 1e-6
            assert report.metrics["train-loss"] == pytest.approx(float(loss), abs=2**-24)
        state = after
    assert state.counted == 2


@pytest.mark.parametrize("changes", [{}, ENCRYPTED])
def test_rounds_are_replayed_bit_by_bit_and_messages_are_not(changes):
    federation = of(**changes)
    first, _ = federation.round(federation.init())
    again, _ = federation.round(first)
    more, _ = federation.round(first)
    for name, values in again.shared.items():
        assert values.equal(more.shared[name])
    anew, _ = federation.round(federation.init())
    assert all(values.equal(anew.shared[name]) for name, values in first.shared.items())
    assert anew.vault["agreement"] != first.vault["agreement"]


@pytest.mark.parametrize("changes", [{}, ENCRYPTED])
def test_a_client_whose_training_diverged_is_left_out_where_it_is(monkeypatch, changes):
    federation = of(**changes)
    state = federation.init()
    mean, loss = clipped_mean(federation, state, range(1, 12))
    host, train = type(federation.host), type(federation.host).train

    def diverging(self, *arguments):
        kept, cohort = train(self, *arguments)
        updates = cohort.updates.clone()
        updates[0] = math.nan
        return kept, replace(cohort, updates=updates)

    monkeypatch.setattr(host, "train", diverging)
    after, report = federation.round(state)
    assert report.metrics["clients-rejected"] == [0]
    assert [one.reason for one in report.rejections] == ["what it sent is not in the hidden sum"]
    assert (moved(federation, state, after) - mean).abs().max() < 1e-6
    assert report.metrics["train-loss"] == pytest.approx(float(loss), abs=2**-24)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "0 members sent sums, 10 are needed"),
        (ENCRYPTED, "nobody opens the sum; host 0: no answer"),
    ],
)
def test_too_few_survivors_open_nothing_and_the_run_goes_on(monkeypatch, changes, reason):
    federation = of(**changes)
    state, real = federation.init(), module.OneHost.__call__

    def deaf(self, phase, messages):
        return {} if phase == "sums" else real(self, phase, messages)

    monkeypatch.setattr(module.OneHost, "__call__", deaf)
    state, report = federation.round(state)
    assert not report.counted
    assert reason in report.rejections[0].reason
    monkeypatch.undo()
    assert federation.round(state)[1].counted
