"""A Flower app small enough to run in a test; what it does is told by its seed."""

import json
from pathlib import Path

PYPROJECT = """\
[project]
name = "tiny-fed"
version = "0.1.0"
description = "a test"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny:server"
clientapp = "tiny:client"

[tool.flwr.app.config]
engine = "flower"
seed = 0
num-clients = 50
learning-rate = 0.05
router-options = ""
data-dir = ""
output-dir = ""
"""

CODE = """\
import json
import os
import time
from pathlib import Path

import psutil
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client = ClientApp()
server = ServerApp()


@client.query()
def answer(message, context):
    return Message(RecordDict({"answer": ConfigRecord({"pid": os.getpid()})}), reply_to=message)


@server.main()
def main(grid, context):
    config = dict(context.run_config)
    results = Path(config["output-dir"])
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.1)
    questions = [Message(RecordDict(), dst_node_id=node, message_type="query") for node in nodes]
    replies = [reply for reply in grid.send_and_receive(questions) if not reply.has_error()]
    print(f"{len(replies)} answers", flush=True)
    process = psutil.Process()
    family = [process, *process.parents(), *process.children(recursive=True)]
    (results / "family.tmp").write_text(json.dumps([[p.pid, p.create_time()] for p in family]))
    (results / "family.tmp").rename(results / "family.json")
    if config["seed"] == 1:
        raise RuntimeError("one is not allowed")
    if config["seed"] == 2:
        time.sleep(600)
    status = {"status": "completed", "config": config, "cwd": os.getcwd()}
    (results / "summary.json").write_text(json.dumps(status))
"""


def write_tiny_app(directory: Path) -> Path:
    """Write the app into a new directory and return it."""
    directory.mkdir()
    (directory / "pyproject.toml").write_text(PYPROJECT)
    (directory / "tiny.py").write_text(CODE)
    return directory


def family(results: Path) -> list[tuple[int, float]]:
    """Return the process ids and start times of the ServerApp, its ancestors and descendants."""
    return [(pid, start) for pid, start in json.loads((results / "family.json").read_text())]
