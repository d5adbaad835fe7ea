"""Runs with hidden sums that are stopped: no secret is written down, and no sum opened twice."""

import numpy as np
import pytest
from secure_runs import CLIENTS, secure
from small_federation import outcome
from stopped_runs import Power, stopping_at

SECRETS = ("train.shares", "score.shares", "train.sums", "score.sums", "signing", "agreement")
SETTINGS = {"num_server_rounds": 4, "num_unseen_clients": 0}


def stopped(folder, count, message_type, **changes):
    """Run until it is stopped; return what its hosts held then."""
    grids = []

    class Watched(stopping_at(count, message_type)):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            grids.append(self)

    with pytest.raises(Power):
        secure(folder, 2, Watched, **SETTINGS, **changes)
    vaults = [dict(context.state["vault"]) for context in grids[0].contexts.values()]
    return [vault[name] for vault in vaults for name in SECRETS if name in vault]


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path):
    whole = outcome(secure(tmp_path / "whole", **SETTINGS)[1])
    folder = tmp_path / "run"
    stopped(folder, 3, "train")
    stopped(folder, 1, "train", resume=True)
    grid, _ = secure(folder, 3, resume=True, **SETTINGS)  # on other hosts
    result = outcome(folder)
    assert result["summary"]["rounds_counted"] == 4
    for name, values in whole["shared"].items():
        np.testing.assert_allclose(values, result["shared"][name], rtol=0, atol=1e-6)
    attempts = [m.content["hidden"].get("attempt") for m in grid.sent if "hidden" in m.content]
    assert set(attempts) == {None, 1}


def test_nothing_secret_is_ever_written_down(tmp_path):
    folder = tmp_path / "run"
    for kind, count in (("train", 3), ("query.checkpoint", 2)):
        held = stopped(folder, count, kind, resume=kind != "train")
        assert len(held) >= 4
        written = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
        assert len(written) > 4
        for secret in held:
            assert len(secret) >= 32 * CLIENTS // 2
            parts = [secret[at : at + 32] for at in range(0, len(secret), 32)]
            assert not any(part in text for part in parts for text in written)


def test_a_round_whose_sum_was_opened_is_not_opened_again(tmp_path):
    folder = tmp_path / "run"
    stopped(folder, 3, "query.checkpoint")  # the sum of round 3 is known, but not written down
    _, folder = secure(folder, 2, resume=True, **SETTINGS)
    result = outcome(folder)
    assert [r["train"].get("round-counted") for r in result["rounds"][3:]] == [0, 1]
    assert "the sum of round 3 was opened" in result["rounds"][3]["rejections"][0]["reason"]
    # the scores of round 2 were known before, too
    assert result["rounds"][2]["accuracy"]["mean"] is None
    assert result["rounds"][3]["accuracy"]["mean"] is not None
    assert result["summary"]["rounds_counted"] == 3


def test_a_host_goes_on_only_from_what_it_remembers(tmp_path):
    folder = tmp_path / "run"
    stopped(folder, 3, "train")
    for file in folder.glob("checkpoint/*/answered-1.safetensors"):
        file.unlink()
    with pytest.raises(Exception, match=r"cannot go on after round 2: .*answered-1"):
        secure(folder, 2, resume=True, **SETTINGS)
