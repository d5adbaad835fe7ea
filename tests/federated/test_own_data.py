"""Runs on data of a user's own: from one file, and from hosts that hold different files."""

import numpy as np
import pandas as pd
import pytest

from qmoe_fed.config import Config
from qmoe_fed.data import Table
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.flower.client import client_app
from qmoe_fed.federated.flower.grid import LocalGrid, task_identity
from qmoe_fed.federated.flower.server import run_federation
from qmoe_fed.results import load_run
from qmoe_fed.results.figures import pictures

COMMON = {
    "engine": "local",
    "num-clients": 6,
    "num-unseen-clients": 2,
    "num-server-rounds": 2,
    "local-epochs": 2,
    "unseen-samples": "4",
    "unseen-epochs": 3,
    "figures": False,
}
G = np.random.default_rng(0)
X = G.uniform(-1, 1, (270, 2))
Y = np.where(np.hypot(*X.T) > 0.75, "out", "in")
CLIENT = np.arange(270) // 30 - 1  # 8 clients, after 30 public samples


def write(folder, clients, name="mine.csv"):
    """Write the samples of some clients into a file of a folder; return the folder."""
    folder.mkdir(exist_ok=True)
    here = np.isin(CLIENT, clients)
    frame = pd.DataFrame(
        {"a": X[here, 0], "b": X[here, 1], "label": Y[here], "client": CLIENT[here]}
    )
    frame.to_csv(folder / name, index=False)
    return str(folder)


def run(settings, *node_dirs):
    """Run on the in-process grid, one SuperNode for each folder of data; return its directory."""
    settings = Config.from_flat(settings).to_flat()
    with task_identity():
        grid = LocalGrid(client_app(), settings, max(len(node_dirs), 1))
        for context, folder in zip(grid.contexts.values(), node_dirs, strict=False):
            context.node_config["data-dir"] = folder
        return run_federation(grid, settings)


def test_hosts_that_hold_different_files_give_the_numbers_of_one_file(tmp_path):
    whole = {**COMMON, "dataset": "mine.csv", "data-dir": write(tmp_path / "all", range(-1, 8))}
    expected = load_run(run({**whole, "output-dir": str(tmp_path / "one")}))
    server, even, odd = (
        write(tmp_path / name, clients)
        for name, clients in [("server", [-1]), ("even", [0, 2, 4, 6]), ("odd", [1, 3, 5, 7])]
    )
    parted = {**whole, "data-dir": server, "classes": "in,out", "output-dir": str(tmp_path / "two")}
    found = load_run(run(parted, even, odd))
    np.testing.assert_allclose(found.clients["accuracy"], expected.clients["accuracy"], atol=1e-6)
    assert found.unseen["shared-4"].tolist() == expected.unseen["shared-4"].tolist()
    for name, values in expected.shared.items():
        np.testing.assert_allclose(found.shared[name], values, atol=1e-5)
    with pytest.raises(UserError, match=r"mine.csv: client 0 has 0 samples"):
        found.data([0])  # the server never had them


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ([1, 3, 5], "client 7 has 0 samples"),  # an unseen client: found before any round
        ([1, 3, 7], "client 5 has 0 samples"),
    ],
)
def test_what_a_host_lacks_is_told_before_work_starts(tmp_path, clients, message):
    folders = write(tmp_path / "even", [0, 2, 4, 6]), write(tmp_path / "odd", clients)
    settings = {**COMMON, "dataset": "mine.csv", "data-dir": write(tmp_path / "server", [-1])}
    settings |= {"classes": "in,out", "output-dir": str(tmp_path / "out")}
    with pytest.raises(UserError, match=f"a SuperNode could not join: .*{message}"):
        run(settings, *folders)
    with pytest.raises(UserError, match=r"no samples of client 0: .* name all labels"):
        run({**settings, "classes": "all"}, *folders)


def test_a_run_of_own_data_is_loaded_predicts_and_is_drawn(tmp_path):
    settings = {**COMMON, "dataset": "mine.csv", "data-dir": write(tmp_path / "d", range(-1, 8))}
    settings |= {"output-dir": str(tmp_path / "out"), "share": "prior", "num-server-rounds": 5}
    found = load_run(run(settings))
    assert found.config.data.labels == ("in", "out")  # written down, though 'all' was asked for
    raw = found.raw([3]).test
    predicted = found.predict(3, raw.x[0]).argmax(1)
    assert (predicted == raw.y[0].numpy()).mean() == found.clients["accuracy"][3]
    drawn = {name: draw(found) for name, draw in pictures(found).items()}
    assert {"decision-regions", "expert-regions", "label-distribution"} <= drawn.keys()


def test_inputs_of_any_shape_and_experts_that_see_all_of_them(tmp_path):
    x = G.normal(size=(120, 3, 2, 2))
    np.savez(tmp_path / "deep.npz", x=x, y=np.arange(120) % 3)
    settings = {**COMMON, "dataset": "deep.npz", "data-dir": str(tmp_path), "public-samples": 40}
    settings |= {"expert-features": "all", "output-dir": str(tmp_path / "out")}
    found = load_run(run(settings))
    assert found.predict(0, x[:5]).shape == (5, 3)
    np.testing.assert_array_equal(found.predict(0, x[:5]), found.predict(0, x[:5].reshape(5, 12)))
    with pytest.raises(UserError, match=r"x has shape \(5, 4\): expected \(samples, 12\)"):
        found.predict(0, x[:5, 0].reshape(5, 4))


def test_a_federation_of_arrays_in_memory_is_that_of_the_file(tmp_path):
    folder, table, accuracies = write(tmp_path, range(-1, 8)), Table(X, Y, CLIENT), []
    for dataset in ("mine.csv", table.name):
        federation = Federation(
            Config.from_flat({**COMMON, "dataset": dataset, "data-dir": folder})
        )
        state, _ = federation.round(federation.init())
        accuracies.append(federation.score(state).columns["accuracy"].tolist())
    assert accuracies[0] == accuracies[1]


def test_unseen_clients_with_too_few_samples_are_refused():
    table = Table(X, Y, CLIENT)
    config = Config.from_flat({**COMMON, "dataset": table.name, "unseen-samples": "4,25"})
    with pytest.raises(
        UserError, match="asks for 25 labelled samples, but an unseen client has only 2"
    ):
        Federation(config)
