"""Samples in memory: what is kept of them, and which row is refused and why."""

import gc

import numpy as np
import pytest

from qmoe_fed.config import Config
from qmoe_fed.data import Table, fit_projection, load_clients
from qmoe_fed.errors import UserError

X = np.arange(24, dtype=float).reshape(6, 2, 2)
Y = np.array([3, 1, 3, 1, 1, 3])


def replaced(values, row, value):
    values = np.array(values, object if isinstance(value, str) else float)
    values[row] = value
    return values


def test_inputs_of_any_shape_become_rows_and_labels_become_classes():
    table = Table(X, Y, client=["b", "public", "a", "a", "b", "a"], test=[0, 1, 0, 1, 1, 0])
    assert (table.x.shape, table.x.dtype) == ((6, 4), np.float32)
    assert table.y.tolist() == [1, 0, 1, 0, 0, 1]
    assert table.labels == ("1", "3")
    assert table.client.tolist() == [1, -1, 0, 0, 1, 0]
    assert table.test.tolist() == [False, True, False, True, True, False]
    assert Table(X.astype(np.uint8), Y).x.dtype == np.uint8
    assert Table(X, ["x", "10", "9", "x", "9", "x"]).labels == ("10", "9", "x")
    assert Table(X, Y.astype(float)).labels == ("1", "3")
    assert table.classes(("3", "2", "1")).tolist() == [0, 2, 0, 2, 2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": replaced(X, (2, 1, 0), np.nan)}, "row 3: a feature is missing or not a number"),
        ({"x": replaced(X, (4, 0, 0), np.inf)}, "row 5: a feature is infinite"),
        ({"x": replaced(X, (4, 0, 0), 1e39)}, "row 5: a feature is infinite, or above 3e38"),
        ({"x": [[1, 2], [3]] * 3}, "rows of x of unequal length"),
        ({"x": X.astype(str)}, "x holds str.*, expected numbers"),
        ({"x": X * 1j}, "x holds complex128, expected numbers"),
        ({"x": np.arange(6)}, r"x has shape \(6,\), expected \(samples, features"),
        ({"x": X[:0], "y": []}, r"x has shape \(0, 2, 2\)"),
        ({"x": X[:5]}, "5 samples, but 6 entries of y"),
        ({"y": replaced(Y, 1, 0.5)}, "row 2: the label is no whole number"),
        ({"y": replaced(Y, 1, np.nan)}, "row 2: the label is missing"),
        ({"y": replaced(Y, 1, "")}, "row 2: the label is missing"),
        ({"y": replaced(Y, 1, "a,b")}, "row 2: the label has a comma"),
        ({"y": X[:, 0]}, r"label has shape \(6, 2\), expected one per sample"),
        ({"client": [0, 1, 0, 1, -2, -3]}, r"row 5: the client is below 0 .* \(and so in 1 more"),
        ({"client": [0, 1, 0, 1, 2**62, 0]}, "row 5: the client is above"),
        ({"client": [0, 1, 0, 1]}, "6 samples, but 4 entries of client"),
        ({"test": ["train", "test", "valid"] * 2}, "row 3: split is neither 'train' nor 'test'"),
    ],
)
def test_a_bad_row_is_refused_with_its_number_and_the_reason(arguments, message):
    with pytest.raises(UserError, match=f"^mine(, |: ){message}"):
        Table(**{"x": X, "y": Y, "origin": "mine", **arguments})


def test_a_label_that_is_not_in_use_is_refused():
    with pytest.raises(UserError, match="row 2: the label 1 is none of: 3, 4"):
        Table(X, Y).classes(("3", "4"))


def test_a_run_finds_samples_by_name_while_they_are_kept():
    x, y = np.random.default_rng(0).random((400, 2)), np.arange(400) % 3
    table, same, other = Table(x, y), Table(x, y), Table(x + 1, y)
    assert table.name == same.name != other.name
    x[:] = np.nan  # a table is not changed by what happens to the arrays it was made of
    config = Config.from_flat({"dataset": table.name, "num-clients": 5, "num-unseen-clients": 5})
    projection = fit_projection(config)
    counts = load_clients(config, range(10), projection).train.counts
    assert counts.tolist() == [15] * 10  # of 20, a quarter to be tested on
    del same
    gc.collect()
    assert load_clients(config, [3], projection).train.counts.tolist() == [15]
    del table
    gc.collect()
    with pytest.raises(UserError, match=r"dataset = 'memory:.*these samples were in the memory of"):
        fit_projection(Config.from_flat({**config.to_flat(), "seed": 1}))
