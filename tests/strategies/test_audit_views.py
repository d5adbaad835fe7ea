import pytest
import torch

from qmoe_fed.config import Config
from qmoe_fed.federated import Federation
from strategies.audits.views import class_shares, crowd, samples_of, sent_by, sent_in_rounds

SMALL = {
    "expert-fit": "gradient",
    "num-clients": 8,
    "num-unseen-clients": 0,
    "train-samples": 12,
    "local-epochs": 2,
    "noise-source": "seed",
    "quorum": 0.0,
}
LOCAL = {"mechanisms": "local-dp", "noise-multiplier": 2.0}


def config(**changes):
    return Config.from_flat({**SMALL, **{k.replace("_", "-"): v for k, v in changes.items()}})


@pytest.mark.parametrize("changes", [{}, LOCAL, {"share": "all"}, {"router": "linear"}])
def test_what_is_sent_is_what_the_server_gets(changes):
    run = Config.from_flat({**SMALL, **changes})
    federation, seen = Federation(run), sent_in_rounds(run, 2)
    state = federation.init()
    for number in (1, 2):
        _, cohort = federation.host.train(state.kept, state.shared, range(8), number)
        assert seen[number - 1].equal(cohort.updates)
        state, _ = federation.round(state)
    first = sent_by(run, samples_of(run, range(8)), range(8))
    torch.testing.assert_close(first, seen[0], rtol=1e-5, atol=1e-6)


def test_watching_changes_nothing():
    run = config()
    federation = Federation(run)
    state, _ = federation.round(federation.init())
    mean = sent_in_rounds(run, 1)[0].mean(0)
    moved = federation.model.layout.flat(state.shared) - federation.model.layout.flat(
        federation.init().shared
    )
    assert float(moved.norm()) == pytest.approx(float(mean.norm()), rel=1e-4)


def test_class_shares_are_counted():
    run = config()
    samples, shares = samples_of(run, range(8)), class_shares(run)
    assert shares.shape == (8, 2)
    assert shares[:, 1].tolist() == pytest.approx(samples.y.double().mean(1).tolist())
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 8)


def test_a_crowd_holds_the_clients_of_the_run_and_others():
    run = config()
    larger = samples_of(crowd(run, 20), range(20))
    assert larger.x[:8].equal(samples_of(run, range(8)).x)
    assert len(larger.x) == 20
