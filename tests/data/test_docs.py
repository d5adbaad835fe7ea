"""What docs/data.md shows works as it stands."""

import json
import re
import shlex
import sys
import warnings
from pathlib import Path

import numpy as np

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients, settle
from qmoe_fed.launch.app import parse_run_config

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def write_hub(folder):
    """Write a dataset as one of the hub; nothing leaves this machine."""
    from datasets import Dataset
    from PIL import Image

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (900, 4, 4), dtype=np.uint8)
    table = {"image": [*map(Image.fromarray, pixels)], "label": [*range(9)] * 100}
    Dataset.from_dict(table).to_parquet(folder / "train.parquet")


def write_leaf_and_pfllib():
    x = np.random.default_rng(0).normal(size=(8, 3)).tolist()
    for half, size in (("train", 6), ("test", 2)):
        Path(half).mkdir()
        own = {"x": x[:size], "y": [0, 1, 0, 1, 0, 1][:size]}
        users = {"users": ["u0", "u1"], "user_data": {"u0": own, "u1": own}}
        Path(half, "all.json").write_text(json.dumps(users))
        for i in range(2):
            arrays = {name: np.array(values) for name, values in own.items()}
            np.savez(Path(half, f"{i}.npz"), data=np.array(arrays, object))


def test_every_way_in_gives_the_clients_their_data(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        import flwr_datasets.federated_dataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(flwr_datasets.federated_dataset, "event", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    names, modules = {}, []
    for code in blocks("python"):
        if file := re.match(r"# (my_\w+).py\n", code):
            modules.append(file[1])
            Path(f"{file[1]}.py").write_text(code)
        else:
            exec(code, names)
        assert len(code.splitlines()) <= 16
    assert names["report"].counted

    def load(settings):
        config = settle(Config.from_flat(settings))
        total = config.federation.num_clients + config.federation.num_unseen_clients
        data = load_clients(config, range(total), fit_projection(config))
        assert data.train.counts.min() > 0
        return data

    write_hub(tmp_path / "hub")
    write_leaf_and_pfllib()
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 6
    for line in commands:
        command = shlex.split(line.replace("ylecun/mnist", str(tmp_path / "hub")))
        assert command[:4] == ["qmoe-fed", "run", "simulations/moons_fed", "--run-config"]
        load(parse_run_config(command[4:]))
    few = {"num-clients": 2, "num-unseen-clients": 0, "angles": "bounds(-9, 9)", "features": 3}
    for dataset in ("my_leaf:everything", "my_pfllib:clients"):
        settings = {**few, "qubits": 3, "dataset": dataset, "classes": "0,1"}
        data = load(settings)
        assert data.train.counts.tolist() == [6, 6]
        assert data.test.counts.tolist() == [2, 2]
    for module in modules:
        sys.modules.pop(module, None)
