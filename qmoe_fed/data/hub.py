"""Datasets that others keep, by name: loaders of scikit-learn, the Hugging Face hub."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from qmoe_fed.data.table import Table
from qmoe_fed.errors import UserError, unknown

POOL = "train"  # the split of a hub's dataset that clients share


def read_sklearn(name: str, _: str) -> Table:
    """Return what a loader of scikit-learn has for ``load_<name>`` or ``fetch_<name>``."""
    from sklearn import datasets  # slow to import

    loaders: dict[str, Callable[..., Any]] = {
        key.partition("_")[2]: loader
        for key, loader in vars(datasets).items()
        if key.startswith(("fetch_", "load_"))
        and "return_X_y" in inspect.signature(loader).parameters
    }
    if name not in loaders:
        raise unknown("dataset of scikit-learn", name, loaders)
    try:
        x, y = loaders[name](return_X_y=True)
    except Exception as error:  # of many kinds: the loader may fetch
        raise UserError(f"sklearn:{name} cannot be loaded: {error}") from error
    return Table(x, y, origin=f"sklearn:{name}")


def read_hub(name: str, label: str) -> Table:
    """Return the ``train`` split of a dataset of the hub, or of a folder in its form.

    ``name`` may end in ``@subset``. Inputs are its only column of images or arrays, or else all
    its columns of numbers; the others are left to partitioners.
    """
    from flwr_datasets import FederatedDataset  # takes seconds and 250 MB to import

    place, _, subset = name.partition("@")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arguments that are not ours
            source = FederatedDataset(
                dataset=place, subset=subset or None, partitioners={}, shuffle=False
            )
            rows = source.load_split(POOL).with_format("numpy")
            columns = {key: rows[key][:] for key in rows.column_names}
    except Exception as error:  # the hub's clients have no common base for their errors
        raise UserError(f"hf:{name} cannot be loaded: {error}") from error
    if label not in columns:
        raise UserError(
            f"hf:{name} has no column {label!r}; set label-column to one of {[*columns]}"
        )
    y = columns.pop(label)
    flat = {key: values for key, values in columns.items() if np.ndim(values) == 1}
    deep = [key for key in columns if key not in flat]
    numbers = [values for values in flat.values() if np.asarray(values).dtype.kind in "biuf"]
    if len(deep) > 1 or not (deep or numbers):
        raise UserError(f"hf:{name}: expected one column of images or arrays, or some of numbers")
    x = columns[deep[0]] if deep else np.stack(numbers, 1)
    return Table(x, y, origin=f"hf:{name}", columns={**flat, label: y})


READERS: dict[str, Callable[[str, str], Table]] = {"sklearn": read_sklearn, "hf": read_hub}
"""By what ``dataset`` begins with: takes the name behind it and that of the label's column."""
