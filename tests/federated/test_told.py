"""Whatever ends a run is told by ``summary.json``, for whoever started it to read."""

import json

import pytest
from small_federation import SpyGrid, federate

from qmoe_fed.errors import UserError
from qmoe_fed.federated.flower.server import told


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"num-client": 3}, "unknown setting 'num-client'"),
        ({"num-clients": 0}, "num-clients = 0: must be at least 1"),
        ({"router": "torch.nn:Bilinear"}, "cannot be built with"),
        ({"mechanisms": "central-pd"}, "unknown mechanism 'central-pd'"),
        ({"strategy": "strategies:Nothing"}, "Nothing"),
        (
            {"strategy": "flwr.serverapp.strategy:FedTrimmedAvg", "strategy-options": "beta = 2.0"},
            "beta",
        ),
    ],
)
def test_settings_that_cannot_work_are_told_before_the_first_round(tmp_path, settings, reason):
    with pytest.raises(UserError) as error:
        federate(tmp_path / "run", **settings)
    told = summary_of(tmp_path / "run")
    assert told == {
        "status": "failed",
        "error": "UserError",
        "reason": str(error.value),
        "rounds": 0,
    }
    assert reason in told["reason"]
    federate(tmp_path / "run", num_server_rounds=1)  # the directory is still to be had
    assert summary_of(tmp_path / "run")["status"] == "completed"


def test_hosts_that_are_missing_are_told(tmp_path):
    class Nobody(SpyGrid):
        def get_node_ids(self):
            return []

    with pytest.raises(UserError):
        federate(tmp_path / "run", grid_type=Nobody, supernode_timeout=0.2)
    told = summary_of(tmp_path / "run")
    assert (told["status"], told["error"], told["rounds"]) == ("failed", "UserError", 0)
    assert told["reason"].startswith("0 of the SuperNodes answered within")
    assert (tmp_path / "run" / "shared.safetensors").exists()


def test_what_ends_the_rounds_is_told_with_how_many_there_were(tmp_path):
    class Stopping(SpyGrid):
        left = 3

        def deliver(self, messages, timeout):
            self.left -= messages[0].metadata.message_type == "train"
            if not self.left:
                raise KeyboardInterrupt
            return super().deliver(messages, timeout)

    with pytest.raises(KeyboardInterrupt):
        federate(tmp_path / "run", grid_type=Stopping)
    assert summary_of(tmp_path / "run") == {
        "status": "failed",
        "error": "KeyboardInterrupt",
        "reason": "KeyboardInterrupt",
        "rounds": 2,
    }


def test_another_run_is_not_told_of(tmp_path):
    federate(tmp_path / "run", num_server_rounds=1)
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with pytest.raises(UserError, match="already holds a run"):
        federate(tmp_path / "run", num_server_rounds=1)
    assert (tmp_path / "run" / "summary.json").read_bytes() == before


@pytest.mark.parametrize("name", ["summary.json", "checkpoint/thesis.pt"])
def test_files_of_somebody_else_stay_as_they_are(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        federate(tmp_path, num_server_rounds=1)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("output_dir", ["", None, 3, "/proc/nowhere"])
def test_where_nothing_can_be_written_the_failure_stays_what_it_was(output_dir):
    with pytest.raises(ZeroDivisionError), told(output_dir):
        raise ZeroDivisionError
