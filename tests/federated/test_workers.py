"""Clients shared out among threads have the same numbers, bit for bit."""

import pytest
import torch
from small_federation import SMALL

from qmoe_fed.config import Config
from qmoe_fed.federated import Federation, workers
from qmoe_fed.federated.model import Model

MANY = {**SMALL, "num-clients": 23, "layers": "1..2", "train-samples": 8}

PENNYLANE = {"circuit-engine": "pennylane:default.qubit", "execution": "serial"}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(workers, "LEAST", 2)


@pytest.mark.parametrize("settings", [{"expert-fit": "solve"}, {"keep-optimizer-state": True}])
def test_threads_change_no_bit(settings):
    def run(threads):
        federation = Federation(Config.from_flat({**MANY, **settings, "threads": threads}))
        state, _ = federation.round(federation.init())
        state, report = federation.round(state)
        return state, report, federation.score(state), federation.mixtures(state)

    before = torch.get_num_threads()
    (one, report, table, mixtures), (two, again, other, others) = run(1), run(3)
    torch.set_num_threads(before)
    assert report == again
    for a, b in ((one.shared, two.shared), (table.columns, other.columns), (mixtures, others)):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_pieces_hold_every_client_once_and_keep_depths_apart():
    pieces = workers.in_pieces(Model(Config.from_flat({**MANY, "threads": 2})), range(23), 5)
    assert sorted(client for _, ids in pieces for client in ids) == [*range(23)]
    assert {model.layers for model, _ in pieces} == {1, 2}
    assert all(len(ids) <= 3 for _, ids in pieces)  # 23 clients, two threads, four pieces each


@pytest.mark.parametrize("settings", [PENNYLANE, {"threads": 1}])
def test_one_thread_where_others_could_not_be_trusted(settings):
    model = Model(Config.from_flat({**MANY, "layers": 2, "threads": 4, **settings}))
    assert workers.threads_of(model) == 1
    assert len(workers.in_pieces(model, range(23))) == 1
