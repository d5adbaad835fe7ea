"""Hosts that know who the others are, and hosts that believe the server."""

import json

import pytest
from secure_runs import CLIENTS, secure
from small_federation import SpyGrid, outcome

from qmoe_fed.errors import UserError
from strategies.secure_sum import identities, keys
from strategies.secure_sum.wire import id_bytes

VICTIM = 5


def knowing(folder, grid_type=SpyGrid, name="identities"):
    """Return a grid whose hosts find identities, or demands, at a place of their own."""

    class Knowing(grid_type):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            for context in self.contexts.values():
                context.node_config[name] = str(folder)

    return Knowing


class Impostor(SpyGrid):
    """A server that introduces itself to everyone as client 5, and could read what it is sent."""

    def deliver(self, messages, timeout):
        config = messages[0].content.config_records.get("config", {})
        if config.get("phase") == "meet":
            party, own = keys.start(keys.new_identities([VICTIM]), {}, "seed 0")
            assert party.clients == [VICTIM]
            for message in messages:
                record = message.content["hidden"]
                at = record["clients"].index(id_bytes([VICTIM])) // 4
                for name in ("publics", "signatures", "identities"):
                    size = len(own[name])
                    raw = record[name]
                    record[name] = raw[: at * size] + own[name] + raw[(at + 1) * size :]
        return super().deliver(messages, timeout)


def counted(folder):
    return outcome(folder)["summary"]["rounds_counted"]


def test_a_server_that_lies_about_keys_is_found_out_by_hosts_with_a_roster(tmp_path):
    identities.write(tmp_path / "keys", CLIENTS)
    run = {"num_unseen_clients": 0, "malicious_server": True}
    _, folder = secure(tmp_path / "good", 3, knowing(tmp_path / "keys"), **run)
    assert counted(folder) == 3
    with pytest.raises(RuntimeError, match="not one round of training counted"):
        secure(tmp_path / "run", 3, knowing(tmp_path / "keys", Impostor), **run)


def test_hosts_that_believe_the_server_are_told_so(tmp_path, caplog):
    secure(tmp_path / "run", 3, num_server_rounds=1)
    assert "3 of 3 hosts believe the server who the others are" in caplog.text
    caplog.clear()
    identities.write(tmp_path / "keys", CLIENTS)
    secure(tmp_path / "knowing", 3, knowing(tmp_path / "keys"), num_server_rounds=1)
    assert "believe" not in caplog.text


def test_a_host_takes_part_in_runs_that_meet_its_demands_only(tmp_path):
    file = tmp_path / "demands.toml"
    file.write_text('mechanisms = "secure-sum"\ncorrupt-fraction = 0.1\nmalicious-server = true\n')
    grid, run = knowing(file, name="demands"), {"num_unseen_clients": 0, "num_server_rounds": 1}
    secure(tmp_path / "good", 2, grid, malicious_server=True, **run)
    for changes in ({}, {"malicious_server": True, "corrupt_fraction": 0.05}, {"mechanisms": ""}):
        (name,) = set(changes) - {"malicious_server"} or {"malicious_server"}
        with pytest.raises(UserError, match=f"runs with {name.replace('_', '-')} = .* only"):
            secure(tmp_path / name, 2, grid, **changes, **run, supernode_timeout=0.5)


def test_files_of_identities(tmp_path):
    folder = tmp_path / "keys"
    identities.write(folder, 3)
    assert {oct(file.stat().st_mode)[-3:] for file in folder.glob("*.key")} == {"600"}
    own, roster = identities.read(folder, [0, 2])
    assert set(own) == {0, 2}
    assert set(roster) == {0, 1, 2}
    assert keys.roster_of(own) == {client: roster[client] for client in (0, 2)}
    (folder / "client-2.key").write_text("nothing")
    with pytest.raises(UserError, match=r"cannot read .*client-2.key"):
        identities.read(folder, [0, 2])
    (folder / "roster.json").write_text(json.dumps(["0"]))
    with pytest.raises(UserError, match=r"cannot read .*roster.json"):
        identities.read(folder, [0])
