"""Samples in files: .npz, .csv, .parquet and IDX, and folders with a file for each client."""

import re
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmoe_fed import memory
from qmoe_fed.data import idx
from qmoe_fed.data.table import PUBLIC, Table
from qmoe_fed.errors import UserError

CLIENT, SPLIT = "client", "split"
ENDINGS = (".npz", ".csv", ".parquet")


def read(path: Path, label: str) -> Table:
    """Return the samples in a file; the column ``label`` of a table holds the labels.

    Raises:
        UserError: It cannot be read, is damaged, or a row is wrong.
    """
    try:
        if path.is_file():
            return READERS.get(path.suffix, _read_idx)(path, label)
    except UserError:
        raise
    except Exception as error:  # a damaged file leads the libraries anywhere
        reason = " ".join((str(error) or type(error).__name__).split())
        raise UserError(f"{path} cannot be read, or is damaged: {reason}") from error
    raise UserError(f"there is no file {path}; set data-dir to its folder, or name it in full")


def read_client(folder: Path, label: str, client: int) -> Table:
    """Return the samples of one client in ``folder/client_<id>.*``, or in ``folder/public.*``.

    Raises:
        UserError: As ``read``; or there is none or more than one.
    """
    name = "public" if client == PUBLIC else f"client_{client}"
    found = [path for end in ENDINGS if (path := folder / f"{name}{end}").is_file()]
    if len(found) != 1:
        what = (
            f"{found[0].name} and {found[1].name}" if found else f"no {name}.npz (.csv, .parquet)"
        )
        raise UserError(f"{folder} holds {what}; expected one file")
    return read(found[0], label)


def any_client(folder: Path) -> int:
    """Return the id of a client whose file is in a folder, -1 where there is none."""
    ids = (path.stem.removeprefix("client_") for path in folder.glob("client_*"))
    return next((int(own) for own in sorted(ids) if own.isdecimal()), PUBLIC)


def _check_size(path: Path, size: int) -> None:
    """Refuse what would not fit into memory twice, whatever it is when it is packed."""
    if 2 * size > (most := memory.total()):
        raise UserError(
            f"{path} holds {size / 2**30:,.1f} GiB; at most {most / 2**31:,.1f} fit into memory"
        )


def _read_npz(path: Path, _: str) -> Table:
    with zipfile.ZipFile(path) as archive:
        arrays = {
            info.filename.removesuffix(".npy"): _read_array(path, archive, info)
            for info in archive.infolist()
        }
    if missing := {"x", "y"} - arrays.keys():
        raise UserError(f"{path} has no array {min(missing)!r}; it has {sorted(arrays)}")
    return _table(path, arrays["x"], arrays["y"], arrays)


def _read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array of an archive, once its header is known to tell the truth."""
    _check_size(path, info.file_size)
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        if dtype.hasobject:
            raise UserError(
                f"{path}: {info.filename} holds pickled objects, which are never opened; save "
                "arrays of numbers or text"
            )
        announced, there = prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if announced != there:
        raise UserError(
            f"{path} is damaged: {info.filename} announces {announced} bytes and has {there}"
        )
    with archive.open(info) as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _read_csv(path: Path, label: str) -> Table:
    from pyarrow import csv

    _check_size(path, path.stat().st_size)
    try:
        table = csv.read_csv(path, csv.ReadOptions(use_threads=False))  # else no rows are counted
    except ValueError as error:
        if found := re.search(r"Row #(\d+): (Expected \d+ columns, got \d+)", str(error)):
            row = int(found[1]) - 1  # the header is not counted
            raise UserError(f"{path}, row {row}: {found[2]}") from error
        raise
    return _from_arrow(path, table, label)


def _read_parquet(path: Path, label: str) -> Table:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        _check_size(path, file.metadata.num_rows * file.metadata.num_columns)
        return _from_arrow(path, file.read(), label)


def _from_arrow(path: Path, table: Any, label: str) -> Table:
    names = table.column_names
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two columns have the same name")
    if label not in names:
        raise UserError(f"{path} has no column {label!r}; set label-column to one of {names[:20]}")
    columns = {name: table.column(name).to_numpy() for name in names}
    features = [name for name in names if name not in (label, CLIENT, SPLIT)]
    if not features or not table.num_rows:
        raise UserError(f"{path} has {table.num_rows} rows of {len(features)} features")
    for name in features:
        if (values := columns[name]).dtype.kind not in "biuf":
            import pandas as pd  # half a second, which every process of a deployment would take

            row = pd.to_numeric(pd.Series(values), errors="coerce").isna().to_numpy().argmax()
            raise UserError(
                f"{path}, row {row + 1}: {name} = {str(values[row])[:40]!r} is no number; expected "
                f"numbers in all columns but {label}, {CLIENT} and {SPLIT}"
            )
    x = np.stack([columns[name] for name in features], 1)
    return _table(path, x, columns[label], columns)


def _read_idx(path: Path, _: str) -> Table:
    """Return images and the labels that lie beside them, as MNIST's files are named."""
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if labels == path:
        raise UserError(f"{path}: expected the images of a pair, …images-idx3-ubyte")
    return Table(*idx.read(path, labels), origin=str(path))


def _table(path: Path, x: NDArray[Any], y: NDArray[Any], columns: dict[str, Any]) -> Table:
    return Table(x, y, columns.get(CLIENT), columns.get(SPLIT), str(path))


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
