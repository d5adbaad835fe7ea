"""A SuperLink and SuperNodes with TLS and keys, in processes, as docs/deployment.md."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import tomli_w

from qmoe_fed.launch import superlink
from qmoe_fed.launch.certificates import make_certificates
from qmoe_fed.launch.new import new_app

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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Site:
    """A SuperLink that believes registered keys only, and what is started beside it."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.started: list[subprocess.Popen[bytes]] = []
        keys = folder / "keys"
        make_certificates(keys, ["localhost"], 3)
        self.environment = superlink._environment(scratch, self.port)
        address = {"address": f"localhost:{self.port}"}
        ends = {"site": {**address, "root-certificates": str(keys / "ca.crt")}}
        (scratch / "flwr" / "config.toml").write_text(tomli_w.dumps({"superlink": ends}))
        self.app = new_app(folder / "site_app")

    def link(self, *keys: int) -> subprocess.Popen[bytes]:
        """Start the SuperLink and register the keys of some SuperNodes."""
        options = f"--host 127.0.0.1 --port {self.port} --ssl-ca-certfile keys/ca.crt "
        options += "--ssl-certfile keys/server.crt --ssl-keyfile keys/server.key "
        options += "--enable-supernode-auth --disable-runtime-dependency-installation"
        process = self.start("flower-superlink", *options.split())
        deadline = time.monotonic() + PATIENCE
        while not self.listens():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for key in keys:
            self.flwr("supernode", "register", f"keys/node-{key}.pub", "site")
        return process

    def listens(self) -> bool:
        with socket.socket() as end:
            return not end.connect_ex(("127.0.0.1", self.port))

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        line = [BIN / command[0], *command[1:]]
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            where = {"cwd": self.folder, "env": self.environment}
            self.started.append(subprocess.Popen(line, **where, stdout=log, stderr=log))
        return self.started[-1]

    def node(
        self, key: int, partition: int, authority: str = "keys/ca.crt"
    ) -> subprocess.Popen[bytes]:
        place = f"partition-id={partition} num-partitions=2"
        options = f"--superlink localhost:{self.port} --root-certificates {authority} "
        options += f"--auth-supernode-private-key keys/node-{key} --port {free_port()} "
        options += "--max-retries 1 --node-config"
        return self.start("flower-supernode", *options.split(), place)

    def flwr(self, *command: str | Path) -> str:
        """Run a command of Flower's to its end."""
        line = [BIN / "flwr", *map(os.fspath, command)]
        where = {"cwd": self.folder, "env": self.environment, "timeout": PATIENCE}
        return subprocess.run(line, **where, capture_output=True, text=True, check=True).stdout

    def wait_for(self, count: int) -> None:
        """Wait until so many SuperNodes are online."""
        deadline = time.monotonic() + PATIENCE
        while True:
            nodes = json.loads(self.flwr("supernode", "list", "site", "--format", "json"))["nodes"]
            if sum(node["status"] == "online" for node in nodes) == count:
                return
            assert time.monotonic() < deadline, nodes

    def submit(self, name: str, **changes: object) -> subprocess.Popen[bytes]:
        """Start the app; results go to a folder ``name`` of the site's."""
        file = self.folder / f"{name}.toml"
        settings = {**SETTINGS, **changes, "output-dir": str(self.folder / name)}
        file.write_text(tomli_w.dumps(settings))
        return self.start("flwr", "run", self.app, "site", "--stream", "--run-config", file)
