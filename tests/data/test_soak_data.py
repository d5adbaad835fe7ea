"""Damaged files of samples, of every kind: clients get what is in them, or a line says why not."""

import gzip
import math
import random
from pathlib import Path

import numpy as np
from pyarrow import Table, csv, parquet
from soaking import damaged, soak

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, idx, load_clients, settle

ROWS = 24
BASE = {"num-clients": 3, "num-unseen-clients": 1, "public-samples": 4, "partition": "iid"}
NAMES = ("a.npz", "b.npz", "c.csv", "d.parquet", "e-images-idx3-ubyte", "f-images-idx3-ubyte.gz")
ODD = [math.nan, math.inf, -math.inf, 1e39, -1, 10**18, 2**63 - 1, 0.5, 1e-320]


def test_damaged_files_of_samples(tmp_path: Path) -> None:
    def case(draw: random.Random) -> str:
        name = draw.choice(NAMES)
        path = tmp_path / name
        labels = tmp_path / name.replace("images-idx3", "labels-idx1")
        columns = {"x": np.linspace(-1, 1, 2 * ROWS).reshape(ROWS, 2), "y": np.arange(ROWS) % 3}
        if draw.random() < 0.3:
            columns["client"] = np.arange(ROWS) % 5 - 1
            columns["split"] = np.array(["train", "test"] * (ROWS // 2))
        broken = draw.random() < 0.6  # bytes, else what they mean
        try:
            for key in draw.choices([*columns], k=0 if broken else draw.randrange(1, 3)):
                columns[key] = _odd_column(columns[key], draw)
            _write(path, labels, columns)
        except (TypeError, ValueError, ArithmeticError, RuntimeError):
            return "cannot be written"
        if broken:
            file = draw.choice([path, labels])
            file.write_bytes(damaged(file.read_bytes(), draw))
        settings = {**BASE, "dataset": str(path), "classes": draw.choice(["all", "0,1,2"])}
        settings |= {"angles": draw.choice(["auto", "bounds", "standardised", "pca"])}
        config = settle(Config.from_flat({**settings, "qubits": draw.choice([2, 4])}))
        loaded = load_clients(config, range(4), fit_projection(config))
        assert loaded.train.x.isfinite().all()
        return "done"

    found = soak(50, 2000, case)
    assert found["refused"] > 9
    assert found["done"]


def _odd_column(values, draw):
    """Return an array of another type, shape or size, or with odd numbers or texts in it."""
    how, row = draw.randrange(8), draw.randrange(len(values) or 1)
    if how < 3 and values.dtype.kind in "fi" and values.size:
        changed = values.astype(draw.choice([float, np.float32, np.int64, np.uint8, np.float16]))
        changed[row] = np.array(draw.choice(ODD)).astype(changed.dtype)
        return changed
    if how == 3:
        return values[: draw.randrange(len(values) + 1)]
    if how == 4:
        return draw.choice([values[None], values[:, None], values.ravel(), values.astype("S3")])
    if how == 5:
        return values.astype(draw.choice(["U9", "datetime64[s]", complex, bool, object, "m8[s]"]))
    if how == 6:
        return np.full_like(values, values.ravel()[0]) if values.size else values
    return np.concatenate([values, values[:1]])


def _write(path: Path, labels: Path, columns) -> None:
    """Write columns to a file, as far as its kind can hold them."""
    x, y = columns["x"], columns["y"]
    if path.suffix == ".npz":
        save = np.savez if path.stem == "a" else np.savez_compressed
        save(path, **columns)
    elif path.suffix in (".csv", ".parquet"):
        more = {key: [*map(str, own.ravel())] for key, own in columns.items() if key != "x"}
        more["label"] = more.pop("y")
        count = min(len(x), *(len(own) for own in more.values()))
        flat = {f"x{i}": part[:count] for i, part in enumerate(x.reshape(len(x), -1).T)}
        numbers = {k: v if v.dtype.kind in "fiub" else v.astype(str) for k, v in flat.items()}
        table = Table.from_pydict({**numbers, **{k: v[:count] for k, v in more.items()}})
        (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(table, path)
    else:
        for file, values in ((path, x), (labels, y)):
            plain = file.with_suffix("") if file.suffix == ".gz" else file
            bytes_of = np.frombuffer(values.tobytes()[: 8 * ROWS], np.uint8) % 3
            idx.write(plain, bytes_of.reshape(-1, 2, 2) if file == path else bytes_of[::4])
            if file.suffix == ".gz":
                file.write_bytes(gzip.compress(plain.read_bytes()))
