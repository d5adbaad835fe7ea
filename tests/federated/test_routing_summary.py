"""What a run says of its routing, recomputed from what it left behind."""

import numpy as np
import pytest
from small_federation import federate, outcome

from qmoe_fed.results import load_run


@pytest.mark.parametrize("share", ["router", "none"])
def test_the_summary_describes_the_routing_of_all_clients(tmp_path, share):
    _, folder = federate(tmp_path / "run", supernodes=2, share=share)
    run = load_run(folder)
    samples = run.data(range(6)).test
    joint, entropies = np.zeros((4, 2, 6)), []
    for k in range(6):
        # the projection would be applied anew to angles: undo it
        low, high = run.projection.low, run.projection.high
        raw = samples.x[k].numpy() / np.pi * (high - low) + low
        weights = run.routing(raw, client=k).astype(np.float64)
        for c in range(2):
            joint[:, c, k] = weights[samples.y[k].numpy() == c].sum(0) / len(weights) / 6
        entropies.append(-(weights * np.log2(weights)).sum(1).mean())

    def information(table):
        product = table.sum(0) * table.sum(1)[:, None]
        return (table * np.log2(table / product)).sum()

    summary = run.summary
    assert summary["routing_entropy"] == pytest.approx(np.mean(entropies), abs=1e-4)
    assert summary["routing_max_load"] == pytest.approx(joint.sum((1, 2)).max(), abs=1e-5)
    expected = information(joint.sum(2)), information(joint.sum(1))
    assert summary["routing_class_information"] == pytest.approx(expected[0], abs=1e-4)
    assert summary["routing_client_information"] == pytest.approx(expected[1], abs=1e-4)
    np.testing.assert_allclose(run.clients["routing-entropy"], entropies, atol=1e-4)


def test_a_private_run_does_not_ask_for_routing_by_class(tmp_path):
    private = {"mechanisms": "central-dp", "noise_multiplier": 2.0, "quorum": 0.0}
    private["num_server_rounds"] = 2
    grid, folder = federate(tmp_path / "run", **private)
    assert outcome(folder)["summary"]["routing_class_information"] is None
    assert not [m for m in grid.sent if m.metadata.message_type == "evaluate.routing"]
    grid, _ = federate(tmp_path / "open")
    assert len([m for m in grid.sent if m.metadata.message_type == "evaluate.routing"]) == 1
