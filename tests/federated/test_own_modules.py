"""What a user's own module must be able to do is tried before a run."""

import pytest
import torch
from small_federation import SMALL

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation


def federation_of(name: str, **more: object) -> Federation:
    plain = {**SMALL, "weight-decay": 0.0}  # which moves a parameter that is not trained
    return Federation(Config.from_flat({**plain, "router": f"odd_modules:{name}", **more}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Hidden", r"router\.linear\.\w+ has no effect on its outputs.*nn.Parameter"),
        ("Numpy", r"router\.shift is not the same .*torch"),
        ("Frozen", r"router\.frequencies is not the same .*torch"),
        ("Drops", r"execution = 'vmap'.*randomness.*execution = 'serial'"),
        ("Norm", r"execution = 'vmap'.*execution = 'serial'"),
        ("Branch", r"execution = 'vmap'.*execution = 'serial'"),
        ("Breaks", "not today"),
    ],
)
def test_what_cannot_be_trained_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        federation_of(name)
    assert "\n" not in str(error.value)


def test_clients_cannot_share_what_a_module_counts() -> None:
    with pytest.raises(UserError, match=r"router\.norm\.running_mean changes .*LayerNorm"):
        federation_of("Norm", execution="serial")


@pytest.mark.parametrize("name", ["Linear", "PennyLane"])
def test_what_can_be_trained_is_trained(name: str) -> None:
    federation = federation_of(name)
    start = federation.init()
    torch.manual_seed(1)  # has no part in a run
    state, report = federation_of(name).round(federation_of(name).init())
    assert report.counted
    for key, values in start.shared.items():
        assert (state.shared[key] != values).all()
        assert state.shared[key].equal(federation.round(start)[0].shared[key])


def test_branches_run_one_after_another() -> None:
    federation = federation_of("Branch", execution="serial")
    assert federation.round(federation.init())[1].counted


def test_pennylane_learns() -> None:
    federation = federation_of("PennyLane")
    state = federation.init()
    for _ in range(3):
        state, _ = federation.round(state)
    before, after = (federation.score(s).columns["loss"].mean() for s in (federation.init(), state))
    assert after < before
