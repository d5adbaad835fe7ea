"""What travels, and that the way clients are spread over SuperNodes changes nothing."""

import numpy as np
import pytest
from small_federation import SMALL, federate, outcome

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients


def assert_same_outcome(a, b, tolerance=1e-6):
    assert a["shared"].keys() == b["shared"].keys()
    for name in a["shared"]:
        np.testing.assert_allclose(a["shared"][name], b["shared"][name], rtol=0, atol=tolerance)
    assert a["experts"].keys() == b["experts"].keys()
    for client, experts in a["experts"].items():
        for name, values in experts.items():
            np.testing.assert_allclose(values, b["experts"][client][name], rtol=0, atol=tolerance)
    for key in ("accuracy_mean", "unseen_accuracy_shared", "bytes_up_per_client_round"):
        assert a["summary"][key] == pytest.approx(b["summary"][key], abs=1e-6)


@pytest.mark.parametrize("settings", [{}, {"fraction_train": 0.5, "keep_optimizer_state": True}])
def test_one_two_or_many_supernodes_give_the_same_numbers(tmp_path, settings):
    runs = [outcome(federate(tmp_path / str(n), supernodes=n, **settings)[1]) for n in (1, 2, 6)]
    assert_same_outcome(runs[0], runs[1])
    assert_same_outcome(runs[0], runs[2])
    assert runs[0]["experts"].keys() == set(range(6))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path):
    a, b, c = (
        outcome(federate(tmp_path / name, seed=seed)[1])
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert_same_outcome(a, b, tolerance=0)
    assert not np.array_equal(a["shared"]["router.theta"], c["shared"]["router.theta"])


def everything_in(messages):
    """Return all array names, and all array values one after another."""
    records = [r for m in messages for r in m.content.array_records.values()]
    names = {name for record in records for name in record}
    values = [array.numpy().ravel() for record in records for array in record.values()]
    return names, np.concatenate(values) if values else np.zeros(0)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("router", {"router.theta"}),
        ("experts", {"experts.weight", "experts.bias"}),
        ("all", {"router.theta", "experts.weight", "experts.bias"}),
        ("none", set()),
    ],
)
def test_only_what_is_shared_travels(tmp_path, share, expected):
    grid, folder = federate(tmp_path / "run", supernodes=2, share=share)
    setup_names = {"mean", "components", "low", "high", "gain"}
    sent, _ = everything_in(grid.sent)
    received, _ = everything_in(grid.received)
    assert sent - setup_names == expected
    assert received == expected
    private = outcome(folder)["experts"]
    held = {name for experts in private.values() for name in experts}
    assert held == {"router.theta", "experts.weight", "experts.bias"} - expected


def test_no_message_holds_an_expert_parameter_or_a_sample(tmp_path):
    grid, folder = federate(tmp_path / "run", supernodes=2)
    _, travelled = everything_in(grid.sent + grid.received)
    numbers = [
        value
        for message in grid.sent + grid.received
        for record in message.content.metric_records.values()
        for entry in record.values()
        for value in (entry if isinstance(entry, list) else [entry])
    ]
    travelled = np.unique(np.concatenate([travelled, np.array(numbers)]).astype(np.float32))
    config = Config.from_flat(SMALL)
    data = load_clients(config, range(6), fit_projection(config))
    samples = np.concatenate([data.train.x.numpy().ravel(), data.test.x.numpy().ravel()])
    interior = samples[(samples > 0) & (samples < np.float32(np.pi))]
    experts = np.concatenate(
        [v.ravel() for e in outcome(folder)["experts"].values() for v in e.values()]
    )
    assert len(interior) > 300
    assert len(experts) == 6 * 4 * (2 * 2 + 2)
    assert not np.isin(interior, travelled).any()
    assert not np.isin(experts, travelled).any()


def test_a_message_carries_the_shared_parameters_once_and_a_reply_one_row_per_client(tmp_path):
    grid, folder = federate(tmp_path / "run", supernodes=2)
    train = [m for m in grid.sent if m.metadata.message_type == "train"]
    replies = {r.metadata.reply_to_message_id: r for r in grid.received}
    assert len(train) == 3 * 2
    for message in train:
        assert message.content["arrays"]["router.theta"].shape == (6,)
        rows = replies[message.metadata.message_id].content["arrays"]["router.theta"]
        assert rows.shape == (3, 6)
        assert rows.numpy().nbytes == 3 * 24
    assert outcome(folder)["summary"]["bytes_up_per_client_round"] == 6 * 4
    assert outcome(folder)["summary"]["router_parameters"] == 6


def test_sampled_fraction_trains_that_many_clients_and_differs_by_round(tmp_path):
    grid, _ = federate(tmp_path / "run", fraction_train=0.5, num_server_rounds=4)
    sampled = [
        tuple(m.content["config"]["clients"])
        for m in grid.sent
        if m.metadata.message_type == "train"
    ]
    assert [len(ids) for ids in sampled] == [3, 3, 3, 3]
    assert len(set(sampled)) > 1
