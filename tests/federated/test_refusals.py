"""What cannot work is refused before any client starts."""

from pathlib import Path

import pytest
from flwr.app import Error, Message
from small_federation import SpyGrid, federate

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num-client": 3}, "Did you mean 'num-clients'"),
        ({"num-clients": 0}, "num-clients = 0: must be at least 1"),
        ({"num-clients": "many"}, "expected int, got str"),
        ({"seed": 2**63}, "seed = 9223372036854775808: must be less than"),
        ({"noise": float("inf")}, "noise = inf: must be a finite number"),
        ({"learning-rate": float("nan")}, "learning-rate = nan: must be a finite number"),
        ({"router": "torch.nn:Linear"}, "expected weights that are not negative and sum to 1"),
        ({"router": "torch.nn:Bilinear"}, r"cannot be built with \(2, 4\): .*out_features"),
        (
            {"router": "torch.nn:Identity"},
            r"returns shape \(20, 2\) for x of shape \(20, 2\): expected .*\(20, 4\)",
        ),
        (
            {"expert": "torch.nn:Identity", "dataset": "digits", "qubits": 4},
            r"Identity' returns shape \(\d+, 4\) .*: expected one score per class, \(\d+, 10\)",
        ),
        ({"expert": "torch.nn:Linear", "expert-options": "bias = 3, big = 1"}, "bias = 3, big"),
        ({"num-experts": 8}, "2 qubits have only 4 basis states"),
        ({"circuit-engine": "pennylane:no.device", "execution": "serial"}, "no.device"),
        ({"circuit": "os:getcwd"}, "circuit 'os:getcwd' raised TypeError"),
        ({"train-samples": 0}, "train-samples = 0"),
        ({"device": "cuda:99"}, "device = 'cuda:99': torch finds .* GPU here"),
        ({"aggregator": "os:getcwd"}, r"aggregator = 'os:getcwd': fails with updates \(6, 1\)"),
        (
            {"aggregator": "torch:maximum"},
            r"it returns shape \(6, 6\), expected a tensor of shape \(1,\)",
        ),
        ({"dataset": "mnist", "data-dir": "~nosuch"}, "data-dir = '~nosuch': .*home"),
        ({"mechanisms": "central-pd"}, "Did you mean 'central-dp'"),
        ({"strategy": "strategies:Nothing"}, "Nothing"),
        ({"device": "cuba"}, "device"),
        ({"dataset": "digits", "num-clients": 5000}, "5003"),
        (
            {"dataset": "digits", "num-clients": 177, "unseen-samples": "4,8"},
            "asks for 8 labelled samples, but an unseen client has only 6",
        ),
    ],
)
def test_bad_settings_are_refused_before_any_client_starts(tmp_path, settings, message):
    folder = tmp_path / "run"
    with pytest.raises(UserError, match=message):
        federate(folder, grid_type=NoClientMayBeCalled, **settings)
    assert not (folder / "metrics.jsonl").exists()


class NoClientMayBeCalled(SpyGrid):
    def deliver(self, messages, timeout):
        raise AssertionError("a client was called")


def test_a_home_that_nobody_has_is_no_output_directory():
    with pytest.raises(UserError, match=r"output-dir = '~nosuch/run': .*home"):
        federate("~nosuch/run", grid_type=NoClientMayBeCalled)


def test_a_full_disk_is_told_in_one_line(tmp_path):
    folder = tmp_path / "run"

    class Full(SpyGrid):
        def deliver(self, messages, timeout):
            if not (folder / "metrics.jsonl").is_symlink():
                (folder / "metrics.jsonl").symlink_to("/dev/full")
            return super().deliver(messages, timeout)

    with pytest.raises(UserError, match=r"cannot write .*metrics.jsonl: No space left on device"):
        federate(folder, grid_type=Full)


def test_an_output_directory_that_holds_a_run_is_refused(tmp_path):
    federate(tmp_path / "run", num_server_rounds=1)
    with pytest.raises(UserError, match="already holds a run"):
        federate(tmp_path / "run", num_server_rounds=1)


class MissingNode(SpyGrid):
    def get_node_ids(self):
        return super().get_node_ids()[:1]


def test_a_missing_supernode_ends_the_wait_with_the_command_to_type(tmp_path):
    with pytest.raises(UserError, match=r'1 of 3 SuperNodes.*"num-supernodes=3 '):
        federate(tmp_path / "run", supernodes=3, grid_type=MissingNode, supernode_timeout=0.3)


def test_a_supernode_that_cannot_join_is_quoted(tmp_path):
    class Failing(SpyGrid):
        def deliver(self, messages, timeout):
            return [Message(Error(code=0, reason="no\nmemory" * 99), reply_to=m) for m in messages]

    with pytest.raises(UserError, match=r"could not join: no memoryno [a-z ]{,300}$"):
        federate(tmp_path / "run", grid_type=Failing, supernode_timeout=0.3)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(1, 2), (2, 2)], "partition-id 2 of num-partitions 2, another that there are 2"),
        ([(0, 2), (1, 3)], "partition-id 1 of num-partitions 3, another that there are 2"),
        ([(0, 2), (0, 2)], "two SuperNodes say they are partition-id 0"),
        ([(0, 0)], "partition-id 0 of num-partitions 0; give"),
    ],
)
def test_supernodes_whose_places_do_not_fit_together_are_refused(tmp_path, places, message):
    class Misplaced(SpyGrid):
        def __init__(self, *args):
            super().__init__(*args)
            for context, (partition, total) in zip(self.contexts.values(), places, strict=True):
                context.node_config |= {"partition-id": partition, "num-partitions": total}

    with pytest.raises(UserError, match=message):
        federate(tmp_path / "run", len(places), grid_type=Misplaced, supernode_timeout=0.3)


def test_a_place_that_is_no_number_is_refused(tmp_path):
    class Misplaced(SpyGrid):
        def deliver(self, messages, timeout):
            (reply,) = super().deliver(messages, timeout)
            reply.content["metrics"]["partition-id"] = float("inf")
            return [reply]

    with pytest.raises(UserError, match="partition-id 0 of num-partitions 0; give"):
        federate(tmp_path / "run", grid_type=Misplaced)


def test_the_app_lists_every_setting():
    import tomllib

    root = Path(__file__).parents[2]
    for app in (root / "simulations").glob("*/pyproject.toml"):
        settings = tomllib.loads(app.read_text())["tool"]["flwr"]["app"]["config"]
        assert list(settings) == list(Config().to_flat()), app
        Config.from_flat(settings)
