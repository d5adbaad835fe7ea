"""Whole runs with hidden sums over Flower's messages: what travels, and what comes out."""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from secure_runs import CLIENTS, everything, is_hidden, rows_of_a_round, secure
from small_federation import SpyGrid, federate, outcome

from qmoe_fed.config import Config
from qmoe_fed.federated.build import make_rules
from qmoe_fed.results import load_run

CONFIGS = Path(__file__).parents[2] / "configs"


def encodings(rows):
    """Return numbers as they could stand in a message: as float32, float64, 7 or 8 bytes."""
    for row in rows:
        for value in row:
            if float(value).is_integer() and abs(value) > 2**20:
                yield int(value).to_bytes(8, "little", signed=True)[:7]
            elif not float(value).is_integer():
                yield np.float32(value).tobytes()
                yield np.float64(value).tobytes()


def found(grid, cohort, table, integers):
    """Return how many of the clients' own numbers stand in any message, as bytes or as numbers."""
    sent = [m for m in grid.sent if m.metadata.message_type != "query.join"]
    raw, numbers = everything([*sent, *grid.received])
    columns = [table.columns[name].tolist() for name in ("loss", "routing-entropy")]
    rows = [*cohort.updates.tolist(), cohort.losses.tolist(), *columns]
    as_bytes = sum(text in raw for text in encodings([*rows, *integers]))
    values = np.unique(np.concatenate(rows).astype(np.float32))
    as_numbers = np.isin(values[values != 0], numbers.astype(np.float32)).sum()
    return as_bytes, as_numbers, len(values)


def test_no_message_holds_a_number_of_any_client(tmp_path):
    rows = rows_of_a_round(tmp_path)
    grid, _ = secure(tmp_path / "run", num_unseen_clients=0)
    assert found(grid, *rows)[:2] == (0, 0)
    plain, _ = federate(tmp_path / "plain", 2, num_clients=CLIENTS, num_unseen_clients=0)
    as_bytes, as_numbers, count = found(plain, *rows)
    assert as_bytes >= 6 * CLIENTS  # the search finds what is there
    assert as_numbers > 0.9 * count


def test_hosts_answer_with_shares_and_sums_and_nothing_else(tmp_path):
    grid, folder = secure(tmp_path / "run", num_unseen_clients=0)
    kinds = {m.metadata.message_id: m.metadata.message_type for m in grid.sent}
    asked = {"train", "evaluate", "query.hidden"}
    replies = [m for m in grid.received if kinds[m.metadata.reply_to_message_id] in asked]
    assert set(kinds.values()) == asked | {"query.join", "query.checkpoint", "query.save"}
    assert all(is_hidden(reply) for reply in replies)
    names = {frozenset(reply.content["hidden"]) for reply in replies}
    assert names == {
        frozenset(one)
        for one in (
            ("clients", "publics", "signatures", "identities", "believes"),
            (),
            ("clients", "nonces", "boxes"),
            ("members", "readable"),
            ("members", "sums"),
        )
    }
    (bytes_up,) = {
        len(m.content["hidden"]["boxes"]) // (CLIENTS // 2) + 16
        for m in replies
        if kinds[m.metadata.reply_to_message_id] == "train"
    }
    assert outcome(folder)["summary"]["bytes_up_per_client_round"] == bytes_up


def test_one_two_or_many_hosts_give_the_same_sums(tmp_path):
    runs = [outcome(secure(tmp_path / str(n), n)[1]) for n in (1, 2, CLIENTS)]
    for other in runs[1:]:
        for name, values in runs[0]["shared"].items():
            np.testing.assert_allclose(values, other["shared"][name], rtol=0, atol=1e-6)
        for a, b in zip(runs[0]["rounds"], other["rounds"], strict=True):
            assert a["loss"]["mean"] == pytest.approx(b["loss"]["mean"], abs=1e-6)


class OnTheWire(SpyGrid):
    """Sends all through Flower's serialisation, what hosts keep too, as other processes get it."""

    def deliver(self, messages, timeout):
        def again(content):
            return recorddict_from_proto(recorddict_to_proto(content))

        for context in self.contexts.values():
            context.state = again(context.state)
        for message in messages:
            message.content = again(message.content)
        replies = super().deliver(messages, timeout)
        for reply in replies:
            reply.content = again(reply.content)
        return replies


def test_all_of_it_can_travel_between_processes(tmp_path):
    _, folder = secure(tmp_path / "run", 3, OnTheWire, num_server_rounds=2, malicious_server=True)
    assert outcome(folder)["summary"]["rounds_counted"] == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"malicious_server": True, "fraction_train": 0.75, "dropout_fraction": 0.05},
        {"share": "all", "server_step": "adam"},
        {"weighting": "examples", "max_weight": 1000.0},
    ],
)
def test_other_ways_to_run_work(tmp_path, settings):
    summary = outcome(secure(tmp_path / "run", **settings)[1])["summary"]
    assert summary["rounds_counted"] == 3
    assert summary["accuracy_mean"] > 0.6


def test_the_server_writes_means_and_the_hosts_their_clients_scores(tmp_path):
    _, folder = secure(tmp_path / "run", figures=True)
    assert not (folder / "clients.json").exists()
    run, result = load_run(folder), outcome(folder)
    assert run.clients["client"].tolist() == list(range(CLIENTS))
    summary = result["summary"]
    assert summary["accuracy_mean"] == pytest.approx(run.clients["accuracy"].mean(), abs=1e-6)
    assert summary["accuracy_std"] is None
    assert summary["routing_client_information"] is None
    assert result["rounds"][3]["accuracy"]["deciles"] == [None] * 11
    own = json.loads((folder / "experts" / "clients-1.json").read_text())
    assert own["client"] == [1, 3, 5, 7, 9, 11]
    assert (folder / "figures" / "learning-curves.png").exists()
    assert (folder / "report.html").exists()


def test_its_config_can_run():
    config = Config.from_toml(CONFIGS / "moons_secure.toml")
    (mechanism,) = make_rules(config).mechanisms
    assert mechanism.settings["train"].members == 11
    assert mechanism.settings["train"].least == 45
