"""A user's own samples, in files and behind functions."""

import numpy as np
import pandas as pd

from qmoe_fed.config import Config

G = np.random.default_rng(0)
X, Y = G.normal(size=(240, 3)), np.array(["cat", "dog"])[np.arange(240) % 2]
CLIENT = np.arange(240) // 20 - 1  # 11 clients, after 20 public samples
TEST = np.arange(240) % 20 < 6

MODULE = """
import numpy as np
from pathlib import Path

asked = []

def everything():
    own = np.load("all.npz")
    return own["x"], own["y"], own["client"], own["test"]

def pool():
    own = np.load("all.npz")
    return own["x"], own["y"]

def clients(ids):
    asked.extend(ids)
    x, y, client, test = everything()
    for i in ids:
        yield x[client == i], y[client == i], None, test[client == i]

def broken(ids):
    return [1 / 0 for _ in ids]

def few(ids):
    return list(clients(ids))[1:]

def other():
    return "x"

def middle(x, features):
    from qmoe_fed.data import Projection
    size = x.shape[1]
    return Projection(x.mean(0), np.eye(size)[:, :features], -np.ones(features), np.ones(features))
"""


def write_samples(folder):
    """Write the samples in all forms, and a module of functions, into the current folder."""
    (folder / "own_data_of_a_test.py").write_text(MODULE)
    np.savez("all.npz", x=X, y=Y, client=CLIENT, test=TEST)
    np.savez("split.npz", x=X, y=Y, client=CLIENT, split=TEST)
    np.savez("pool.npz", x=X, y=Y)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "kind": Y, "client": CLIENT})
    frame["split"] = np.where(TEST, "test", "train")
    frame.to_csv("split.csv", index=False)
    (folder / "each").mkdir()
    for i in range(-1, 11):
        own, name = i == CLIENT, f"client_{i}" if i >= 0 else "public"
        np.savez(f"each/{name}.npz", x=X[own], y=Y[own], split=TEST[own])


def config_of(dataset, **others):
    common = {"num-clients": 8, "num-unseen-clients": 3, "classes": "dog,cat", "angles": "pca"}
    kind = {"label-column": "kind"} if dataset.endswith("csv") else {}
    return Config.from_flat({"dataset": dataset, **common, **kind, **others})
