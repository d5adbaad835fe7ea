"""What a user's own module must be able to do is tried before a run."""

import pytest
import torch
from small_federation import SMALL
from torch import Tensor

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


@pytest.mark.parametrize("fit", ["gradient", "solve"])
def test_dropout_follows_from_the_seed(fit: str) -> None:
    """Whatever else is drawn, and whichever clients are trained beside one."""

    def experts_of(drawn: int, **more: object) -> tuple[Tensor, Tensor, Tensor]:
        federation = federation_of("Drops", execution="serial", **{"expert-fit": fit, **more})
        torch.manual_seed(drawn)
        kept, shared = federation.host.start(), federation.model.initial_shared()
        alone = federation.host.train(kept, shared, [2], 1)[1].updates[0]
        kept, beside = federation.host.train(kept, shared, [0, 2], 1)
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(drawn))
        weights = federation.host.private(kept, shared)["experts.weight"]
        assert alone.equal(beside.updates[1])
        return (*beside.updates, weights)

    one, other = experts_of(1), experts_of(2)
    assert all(a.equal(b) for a, b in zip(one, other, strict=True))
    assert not one[0].equal(experts_of(1, seed=1)[0])
