"""SuperLink and SuperNodes in processes of their own, with TLS and keys, as docs/deployment.md."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tomli_w

from qmoe_fed.launch import superlink
from qmoe_fed.launch.certificates import make_certificates
from qmoe_fed.launch.new import new_app
from qmoe_fed.launch.processes import scratch_directory
from qmoe_fed.results import load_run

BIN = Path(sys.executable).parent
PATIENCE = 400  # seconds
SETTINGS = {
    "num-clients": 6,
    "num-unseen-clients": 0,
    "num-server-rounds": 1,
    "train-samples": 32,
    "test-samples": 16,
    "checkpoint-every": 0,
    "supernode-timeout": float(PATIENCE),
    "figures": False,
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Site:
    """A SuperLink that believes registered keys only, and what is started beside it."""

    def __init__(self, folder, scratch):
        self.folder, self.keys, self.port = folder, folder / "keys", free_port()
        self.started = []
        make_certificates(self.keys, ["localhost"], 3)
        self.environment = superlink._environment(scratch, self.port)
        address = {"address": f"localhost:{self.port}"}
        ends = {"site": {**address, "root-certificates": str(self.keys / "ca.crt")}}
        (scratch / "flwr" / "config.toml").write_text(tomli_w.dumps({"superlink": ends}))
        self.app = new_app(folder / "site_app")
        options = f"--host 127.0.0.1 --port {self.port} --ssl-ca-certfile keys/ca.crt "
        options += "--ssl-certfile keys/server.crt --ssl-keyfile keys/server.key "
        options += "--enable-supernode-auth --disable-runtime-dependency-installation"
        self.start("flower-superlink", *options.split())
        deadline = time.monotonic() + PATIENCE
        while not self.listens():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def listens(self):
        with socket.socket() as end:
            return not end.connect_ex(("127.0.0.1", self.port))

    def start(self, *command):
        line = [BIN / command[0], *command[1:]]
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            where = {"cwd": self.folder, "env": self.environment}
            self.started.append(subprocess.Popen(line, **where, stdout=log, stderr=log))
        return self.started[-1]

    def node(self, key, partition, authority="keys/ca.crt"):
        place = f"partition-id={partition} num-partitions=2"
        options = f"--superlink localhost:{self.port} --root-certificates {authority} "
        options += f"--auth-supernode-private-key keys/node-{key} --port {free_port()} "
        options += "--max-retries 1 --node-config"
        return self.start("flower-supernode", *options.split(), place)

    def flwr(self, *command):
        """Run a command of Flower's to its end."""
        line = [BIN / "flwr", *map(os.fspath, command)]
        where = {"cwd": self.folder, "env": self.environment, "timeout": PATIENCE}
        return subprocess.run(line, **where, capture_output=True, text=True, check=True).stdout

    def wait_for(self, count):
        """Wait until so many SuperNodes are online."""
        deadline = time.monotonic() + PATIENCE
        while True:
            nodes = json.loads(self.flwr("supernode", "list", "site", "--format", "json"))["nodes"]
            if sum(node["status"] == "online" for node in nodes) == count:
                return
            assert time.monotonic() < deadline, nodes

    def run(self, name):
        """Run the app; return its summary."""
        settings = {**SETTINGS, "output-dir": str(self.folder / name)}
        (self.folder / "run.toml").write_text(tomli_w.dumps(settings))
        self.flwr("run", self.app, "site", "--stream", "--run-config", "run.toml")
        return json.loads((self.folder / name / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_only_nodes_with_a_key_take_part(tmp_path):
    with scratch_directory() as scratch:
        site = Site(tmp_path, scratch)
        for key in (0, 1):  # not 2
            site.flwr("supernode", "register", f"keys/node-{key}.pub", "site")
        make_certificates(tmp_path / "other", ["localhost"], 1)
        strangers = [site.node(2, 0), site.node(1, 1, "other/ca.crt")]
        nodes = [site.node(0, 0), site.node(1, 1)]
        assert all(process.wait(PATIENCE) for process in strangers)
        site.wait_for(2)
        honest = site.run("honest")
        assert [process.poll() for process in nodes] == [None, None]
    assert all(process.wait(PATIENCE) is not None for process in site.started)
    assert (honest["status"], honest["supernodes"]) == ("completed", 2)
    assert honest["clients_scored"] == 6
    assert load_run(tmp_path / "honest").complete.tolist() == [*range(6)]
