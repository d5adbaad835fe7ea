"""Damages files at random, and looks what reading them comes to.

python tests/data/damaged.py [COUNT] [SEED]     a long loop, of 20,000 files
"""

import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from qmoe_fed.data import files, idx
from qmoe_fed.errors import UserError

ROWS = 20


def damaged_files(folder: str | Path, seed: int, count: int) -> Counter[str]:
    """Read so many damaged files in a folder; return how many were ``read`` and ``refused``.

    What else reading one raises is passed on, and the file is left where it is.
    """
    generator, found = np.random.default_rng(seed), Counter[str]()
    whole = {path: path.read_bytes() for path in _examples(Path(folder))}
    for number in range(count):
        path, content = list(whole.items())[number % len(whole)]
        path.write_bytes(_damaged(content, generator))
        try:
            files.read(path, "label")
            found["read"] += 1
        except UserError as error:
            if "\n" in str(error):
                raise
            found["refused"] += 1
        path.write_bytes(content)
    return found


def _damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """Return bytes with some cut off, changed, left out or repeated."""
    changed, how = bytearray(content), generator.integers(4)
    begin = int(generator.integers(len(content)))
    end = min(begin + int(generator.integers(1, 40)), len(content))
    if how == 0:
        del changed[begin:]
    elif how == 1:
        changed[begin:end] = generator.bytes(end - begin)
    elif how == 2:
        del changed[begin:end]
    else:
        changed[begin:begin] = changed[begin:end]
    return bytes(changed)


def _examples(folder: Path) -> list[Path]:
    """Write a small file of each kind; return those to be damaged."""
    from pyarrow import Table, csv, parquet

    folder.mkdir(parents=True, exist_ok=True)
    x, y = np.linspace(-1, 1, 2 * ROWS).reshape(ROWS, 2), np.arange(ROWS) % 3
    table = Table.from_pydict({"a": x[:, 0], "b": x[:, 1], "label": y, "client": y})
    np.savez(folder / "a.npz", x=x, y=y, client=y)
    np.savez_compressed(folder / "b.npz", x=x, y=y.astype(str))
    csv.write_csv(table, folder / "c.csv")
    parquet.write_table(table, folder / "d.parquet")
    images, labels = (folder / f"{what}-ubyte" for what in ("images-idx3", "labels-idx1"))
    idx.write(images, np.zeros((ROWS, 2, 2), np.uint8))
    idx.write(labels, y.astype(np.uint8))
    return [*(folder / name for name in ("a.npz", "b.npz", "c.csv", "d.parquet")), images]


if __name__ == "__main__":
    COUNT, SEED = map(int, [*sys.argv[1:], "20000", "0"][:2])
    with TemporaryDirectory() as scratch:
        print(dict(damaged_files(scratch, SEED, COUNT)))
