"""A federation that is called: its state is a value, and Flower around it changes no number."""

import json
import re
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from flwr.serverapp.exception import PrivacyBudgetExhausted
from small_federation import SMALL, federate, outcome

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.flower.finish import routing_summary

PRIVATE = {"mechanisms": "central-dp", "noise-multiplier": 2.0, "quorum": 0.0}
PRIVATE |= {"noise-source": "seed"}


def federation(**changes):
    named = {key.replace("_", "-"): value for key, value in changes.items()}
    return Federation(Config.from_flat({**SMALL, **named}))


def rounds(federation, state, count):
    reports = []
    for _ in range(count):
        state, report = federation.round(state)
        reports.append(report)
    return state, reports


def same_bits(a, b):
    assert (a.round, a.counted) == (b.round, b.counted)
    pairs = [(a.shared, b.shared), (a.kept.local, b.kept.local)]
    pairs += [(a.kept.optimizer, b.kept.optimizer), (a.step or {}, b.step or {})]
    for one, other in pairs:
        assert list(one) == list(other)
        for name, values in one.items():
            assert values.equal(other[name]), name
    memories = [[m.state_dict() for m in state.mechanisms] for state in (a, b)]
    assert memories[0] == memories[1]


KINDS = [
    {},
    {"keep_optimizer_state": True, "fraction_train": 0.5, "server_step": "adam"},
    {**PRIVATE, "fraction_train": 0.5, "sampling": "poisson"},
    {"share": "all", "weighting": "examples", "server_step": "momentum"},
    {"share": "none"},
    {"expert_fit": "solve", "share": "prior", "fraction_train": 0.5, "server_step": "momentum"},
    {"expert_fit": "solve", "share": "none", "keep_optimizer_state": True},
    {"noise_channel": "depolarizing", "noise_strength": "uniform(0, 0.2)"},
    {"readout_error": "uniform(0, 0.3)", "layers": "1..3", "keep_optimizer_state": True},
    {"layers": "2..3", "share": "all", "weighting": "examples", "fraction_train": 0.5},
    {"shots": 50, "shot_gradients": "parameter-shift", "layers": "1..2"},
    {
        "expert": "quantum",
        "expert_options": "layers = 1",
        "share": "all",
        "layers": 1,
        "qubits": 3,
        "noise_channel": "bit-flip",
        "noise_strength": "uniform(0, 0.2)",
        "noise_drift": 0.3,
        "calibration": True,
    },
]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_called_directly_or_through_flower_the_numbers_are_the_same(tmp_path, settings):
    fed = federation(**settings)
    state, reports = rounds(fed, fed.init(), 3)
    table, unseen = fed.score(state), fed.unseen(state)
    for supernodes, tolerance in ((1, 0), (2, 1e-6)):
        folder = federate(tmp_path / str(supernodes), supernodes, **settings)[1]
        result = outcome(folder)
        for name, values in state.shared.items():
            np.testing.assert_allclose(result["shared"][name], values, rtol=0, atol=tolerance)
        private = fed.host.private(state.kept, state.shared)
        for client, experts in result["experts"].items():
            for name, values in experts.items():
                ours = private[name][client]
                np.testing.assert_allclose(values, ours, rtol=0, atol=tolerance)
        for report, line in zip(reports, result["rounds"][1:], strict=True):
            left_out = report.metrics.pop("clients-rejected"), line["train"].pop("clients-rejected")
            assert left_out == ([], [])
            assert line["train"] == pytest.approx(report.metrics, abs=tolerance)
            report.metrics["clients-rejected"] = []
        for scores, file in ((table, "clients.json"), (unseen, "unseen.json")):
            columns = json.loads((folder / file).read_text())
            assert columns.pop("client") == scores.clients.tolist()
            for name, values in scores.columns.items():
                np.testing.assert_allclose(columns[name], values, rtol=0, atol=tolerance)
        if not settings.get("mechanisms"):
            routing = routing_summary(fed.config, table, fed.routing(state))
            told = {name: result["summary"][f"routing_{name}"] for name in routing}
            assert routing == pytest.approx(told, abs=tolerance)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_round_replayed_gives_the_same_state_and_leaves_the_old_one(settings):
    fed = federation(**settings)
    start = fed.init()
    before = deepcopy(start)
    first, reports = rounds(fed, start, 2)
    same_bits(start, before)
    middle, _ = rounds(fed, start, 1)
    again, other = rounds(fed, middle, 1)
    same_bits(first, again)
    assert reports[-1] == other[-1]
    same_bits(first, rounds(federation(**settings), federation(**settings).init(), 2)[0])


def test_it_says_nothing_writes_nothing_and_needs_no_flower(tmp_path):
    code = (
        "import sys; from qmoe_fed.config import Config\n"
        "from qmoe_fed.federated import Federation\n"
        f"fed = Federation(Config.from_flat({dict(**SMALL, **PRIVATE)!r}))\n"
        "state, report = fed.round(fed.init())\n"
        "fed.score(state), fed.unseen(state), fed.routing(state)\n"
        "sys.exit(report.metrics['epsilon'] <= 0 or 'flwr' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_budget_ends_the_rounds_and_spends_nothing():
    fed = federation(**PRIVATE, max_epsilon=3.0)
    accountant = fed.rules.mechanisms[0].accountant
    allowed = max(number for number in range(20) if accountant.epsilon(number) <= 3.0)
    state, reports = rounds(fed, fed.init(), allowed)
    spent = [report.metrics["epsilon"] for report in reports]
    assert spent == [accountant.epsilon(number) for number in range(1, allowed + 1)]
    for _ in range(2):
        with pytest.raises(PrivacyBudgetExhausted, match="more than max-epsilon = 3"):
            fed.round(state)
    assert state.mechanisms[0].metrics() == {"epsilon": spent[-1]}


def test_a_round_of_nobody_changes_nothing():
    fed = federation(fraction_train=1e-9, sampling="poisson")
    start = fed.init()
    state, (report,) = rounds(fed, start, 1)
    assert not report.counted
    assert report.fault == "0 clients accepted, quorum is 1"
    assert (state.round, state.counted) == (1, 0)
    assert state.shared is start.shared
    assert state.kept is start.kept


def test_a_client_whose_angles_run_away_is_left_out():
    """Its update, taken in (-π, π], would look like any other."""
    fed = federation(optimizer="sgd", learning_rate=1e30, local_epochs=1, batch_size=64)
    _, (report,) = rounds(fed, fed.init(), 1)
    assert [rejection.client for rejection in report.rejections] == list(range(6))
    for rejection in report.rejections:
        assert re.search(r"norm of the update is .*e\+2\d, more than max-update", rejection.reason)


def test_strategies_of_flowers_need_flower():
    with pytest.raises(UserError, match="needs Flower's messages"):
        federation(strategy="flwr.serverapp.strategy:FedMedian")


def test_the_layout_is_the_way_there_and_back():
    fed = federation(share="all")
    layout, shared = fed.model.layout, fed.init().shared
    assert layout.names == ("router.theta", "experts.weight", "experts.bias")
    assert layout.size == 6 + 4 * 4 + 4 * 2
    vector = layout.flat(shared)
    assert vector.dtype == torch.float64
    assert layout.is_angle.tolist() == [True] * 6 + [False] * 24
    for name, values in layout.parameters(vector).items():
        assert values.equal(shared[name])
    rows = torch.stack([vector, 2 * vector])
    for name, values in layout.parameters(rows).items():
        assert values[1].equal(2 * shared[name])
    assert layout.flat(layout.parameters(rows), 2).equal(rows.float().double())
