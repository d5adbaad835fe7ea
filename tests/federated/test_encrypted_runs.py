"""Whole runs with encrypted sums over Flower's messages: what travels, and what comes out."""

import numpy as np
import pytest
from secure_runs import everything, is_hidden, rows_of_a_round, secure
from small_federation import SpyGrid, outcome
from stopped_runs import Power, stopping_at
from test_secure_losses import losing
from test_secure_runs import OnTheWire

HOSTS = 4
ENCRYPTED = {"mechanisms": "encrypted-sum", "num_unseen_clients": 0, "num_server_rounds": 2}


class Keeping(SpyGrid):
    """Keeps what hosts held."""

    held: set  # of all grids: a run that is stopped does not return its own

    def deliver(self, messages, timeout):
        replies = super().deliver(messages, timeout)
        vaults = [c.state.config_records.get("vault", {}) for c in self.contexts.values()]
        for vault in vaults:
            self.held.update({vault[name] for name in ("secret", "agreement") if name in vault})
        return replies


def encrypted(folder, supernodes=HOSTS, grid_type=SpyGrid, **changes):
    return secure(folder, supernodes, grid_type, **{**ENCRYPTED, **changes})


def trained(folder, name):
    return [one["train"][name] for one in outcome(folder)["rounds"][1:]]


def found(grid, rows):
    """Return of how many clients' rows the first two numbers stand side by side in any message."""
    raw, _ = everything([*grid.sent, *grid.received])
    kinds = {"f": (np.float32, np.float64), "i": (np.int64,)}
    texts = [{row[:2].astype(kind).tobytes() for kind in kinds[row.dtype.kind]} for row in rows]
    return sum(any(text in raw for text in either) for either in texts)


@pytest.mark.parametrize("share", ["router", "prior"])
def test_no_message_holds_what_a_client_sends_or_a_key(tmp_path, share):
    solved = {"share": share, "expert_fit": "solve"}
    cohort, table, integers = rows_of_a_round(tmp_path, **solved)
    scores = np.stack([column.numpy() for column in table.columns.values()], 1)
    rows = [*cohort.updates.numpy(), *scores, *integers]
    kind = type("Grid", (Keeping,), {"held": set()})
    grid, folder = encrypted(tmp_path / "run", grid_type=kind, key_client=-1, **solved)
    assert found(grid, rows) == 0
    assert trained(folder, "round-counted") == [1, 1]
    raw, numbers = everything([*grid.sent, *grid.received])
    assert not np.isin(table.columns["loss"].numpy().astype(np.float32), numbers).any()
    (secret,) = (key for key in kind.held if len(key) > 1000)  # all hosts have the one
    assert not any(secret[at : at + 16] in raw for at in range(1000, len(secret), 9973))
    plain, _ = encrypted(tmp_path / "plain", mechanisms="", **solved)
    assert found(plain, rows) == 12  # the search finds the updates where they are


def test_hosts_answer_with_ciphertexts_and_one_of_them_with_sums(tmp_path):
    grid, folder = encrypted(tmp_path / "run", key_client=2, num_server_rounds=1)
    kinds = {m.metadata.message_id: m.metadata.message_type for m in grid.sent}
    asked = {"train", "evaluate", "query.hidden"}
    replies = [m for m in grid.received if kinds[m.metadata.reply_to_message_id] in asked]
    assert all(is_hidden(reply) for reply in replies)
    names = {frozenset(reply.content["hidden"]) for reply in replies}
    assert names == {
        frozenset(("clients", "publics", "signatures", "identities", "believes")),
        frozenset(("box", "clients", "wraps")),
        frozenset(),
        frozenset(("clients", "sizes", "boxes")),
        frozenset(("sums",)),
    }
    opened = {r.metadata.src_node_id for r in replies if "sums" in r.content["hidden"]}
    assert opened == {grid.get_node_ids()[2]}
    has_secret = ["secret" in c.state["vault"] for c in grid.contexts.values()]
    assert has_secret == [False, False, True, False]
    train = [r for r in replies if kinds[r.metadata.reply_to_message_id] == "train"]
    sent = [len(reply.content["hidden"]["boxes"]) / 3 for reply in train]
    bytes_up = outcome(folder)["summary"]["bytes_up_per_client_round"]
    assert sent == pytest.approx([bytes_up] * HOSTS, rel=2e-3)


def test_it_is_the_secure_sum_and_all_can_travel_between_processes(tmp_path):
    shared = outcome(secure(tmp_path / "shared", 2, num_unseen_clients=0, num_server_rounds=2)[1])
    folder = encrypted(tmp_path / "run", 2, OnTheWire, key_client=-1)[1]
    for name, values in outcome(folder)["shared"].items():
        assert values.tobytes() == shared["shared"][name].tobytes()  # sums of the same integers


@pytest.mark.parametrize(("holder", "counted"), [(2, [1, 0, 1]), (-1, [1, 1, 1])])
def test_a_sum_is_opened_while_anybody_with_the_key_is_there(tmp_path, holder, counted):
    lost = {(2, "sums"): [max(holder, 0)]}
    _, folder = encrypted(
        tmp_path / "run", grid_type=losing(lost), key_client=holder, num_server_rounds=3
    )
    assert trained(folder, "round-counted") == counted
    reasons = [one["reason"] for one in outcome(folder)["rounds"][2]["rejections"]]
    assert all("nobody opens the sum; host 2: no answer" in reason for reason in reasons)


def test_a_lost_host_costs_its_clients_and_too_many_cost_the_round(tmp_path):
    run = {"num_clients": 6, "supernodes": 6}
    lost = {(1, "shares"): [1], (2, "shares"): [1, 3]}
    _, folder = encrypted(tmp_path / "run", grid_type=losing(lost), **run)
    assert trained(folder, "round-counted") == [1, 0]
    assert trained(folder, "clients-rejected")[0] == [1]
    (reason, *_) = outcome(folder)["rounds"][2]["rejections"]
    assert "4 clients sent rows, 5 are needed" in reason["reason"]


def test_a_key_holder_that_starts_anew_makes_a_new_key(tmp_path):
    class Forgetting(SpyGrid):
        def deliver(self, messages, timeout):
            config = messages[0].content.config_records.get("config", {})
            if (messages[0].metadata.message_type, config.get("server-round")) == ("train", 2):
                del next(iter(self.contexts.values())).state["vault"]
            return super().deliver(messages, timeout)

    _, folder = encrypted(tmp_path / "run", 6, Forgetting, num_clients=6, num_server_rounds=3)
    assert trained(folder, "round-counted") == [1, 0, 1]


def test_a_run_that_was_stopped_goes_on_with_a_new_key_and_no_key_is_written(tmp_path):
    whole = outcome(encrypted(tmp_path / "whole", 2, num_server_rounds=3)[1])
    folder, held = tmp_path / "run", set()
    for resume in (False, True):  # round 1 is done, then stopped once more
        grid = type("Stopping", (stopping_at(2 - resume), Keeping), {"held": held})
        with pytest.raises(Power):
            encrypted(folder, 2, grid, resume=resume, num_server_rounds=3)
    assert len([key for key in held if len(key) > 1000]) > 1  # never the same one again
    written = b"|".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert not any(key[at : at + 32] in written for key in held for at in range(0, len(key), 997))
    _, folder = encrypted(folder, 3, resume=True, num_server_rounds=3)  # on other hosts
    assert trained(folder, "round-counted") == [1, 1, 1]
    for name, values in whole["shared"].items():
        np.testing.assert_allclose(values, outcome(folder)["shared"][name], rtol=0, atol=1e-6)


def test_a_round_whose_sum_was_opened_is_not_opened_again(tmp_path):
    with pytest.raises(Power):  # the sum of round 2 is known, but not written down
        encrypted(tmp_path / "run", 2, stopping_at(2, "query.checkpoint"), num_server_rounds=3)
    _, folder = encrypted(tmp_path / "run", 2, resume=True, num_server_rounds=3)
    assert trained(folder, "round-counted") == [1, 0, 1]
    (reason, *_) = outcome(folder)["rounds"][2]["rejections"]
    assert "the sum of round 2 was opened" in reason["reason"]
