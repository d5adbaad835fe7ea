"""Files of samples: what is read, and what is refused."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from qmoe_fed import memory
from qmoe_fed.data import files, idx
from qmoe_fed.errors import UserError

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.array(["cat", "dog", "owl"])[np.arange(12) % 3]
CLIENT, SPLIT = np.arange(12) % 2, np.array(["train", "test"])[np.arange(12) // 8]


def save(path, **more):
    columns = {"y": Y, "client": CLIENT, "split": SPLIT, **more}
    if path.suffix == ".npz":
        np.savez_compressed(path, **{"x": X, **columns})
        return path
    columns = {"label": columns.pop("y"), **columns}
    frame = pd.DataFrame({**{f"f{i}": X[:, i] for i in range(3)}, **columns})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("end", files.ENDINGS)
def test_all_formats_hold_the_same(tmp_path, end):
    table = files.read(save(tmp_path / f"mine{end}"), "label")
    np.testing.assert_array_equal(table.x, X)
    assert np.array(table.labels)[table.y].tolist() == Y.tolist()
    assert table.client.tolist() == CLIENT.tolist()
    assert table.test.tolist() == (SPLIT == "test").tolist()


def test_idx_files_are_read_in_pairs(tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
    idx.write(tmp_path / "my-images-idx3-ubyte", pixels)
    idx.write(tmp_path / "my-labels-idx1-ubyte", np.arange(5, dtype=np.uint8))
    table = files.read(tmp_path / "my-images-idx3-ubyte", "label")
    np.testing.assert_array_equal(table.x, pixels.reshape(5, 12))
    assert table.labels == tuple("01234")
    with pytest.raises(UserError, match="expected the images of a pair"):
        files.read(tmp_path / "my-labels-idx1-ubyte", "label")


def test_a_column_of_another_name_can_hold_the_labels(tmp_path):
    path = save(tmp_path / "a.csv", f3=Y)
    with pytest.raises(UserError, match=r"row 1: f3 = 'cat' is no number; expected numbers in all"):
        files.read(path, "label")
    save(path, y=np.arange(12), species=Y)
    assert files.read(path, "species").x.shape == (12, 4)
    with pytest.raises(UserError, match=r"a.csv has no column 'kind'; set label-column to one of"):
        files.read(path, "kind")


CSV = "a,b,label\n1,2,0\n3,4,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV + "5,1\n", "row 3: Expected 3 columns, got 2"),
        (CSV + "5,1,0,7\n", "row 3: Expected 3 columns, got 4"),
        (CSV + "5,x,0\n", "row 3: b = 'x' is no number"),
        (CSV + "5,,0\n", "row 3: a feature is missing"),
        (CSV + "5,nan,0\n", "row 3: a feature is missing or not a number"),
        (CSV + "5,1,\n", "row 3: the label is missing"),
        ("a,a,label\n1,2,0\n", "two columns have the same name"),
        ("label\n0\n", "1 rows of 0 features"),
        ("a,label\n", "0 rows of 1 features"),
        ("", "Empty CSV file"),
        ("a,label,client\n1,0,0\n2,1,\n", "row 2: the client is missing"),
        ("a,label,split\n1,0,train\n2,1,val\n", "row 2: split is neither"),
        (CSV + "5,\x00,0\n", "row 3: b = "),
    ],
)
def test_what_is_wrong_with_a_table_is_told_with_file_and_row(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=f"^{path}.*{message}"):
        files.read(path, "label")


def test_pickles_are_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    path = save(tmp_path / "a.npz", y=np.array([Bomb()] * 12, object))
    with pytest.raises(UserError, match=r"y.npy holds pickled objects, which are never opened"):
        files.read(path, "label")


def test_a_header_that_announces_more_than_there_is_is_refused(tmp_path):
    content = io.BytesIO()
    header = {"shape": (10**12, 3), "fortran_order": False, "descr": "<f8"}
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue())
    with pytest.raises(UserError, match=r"x.npy announces 24000000000000 bytes and has 0"):
        files.read(tmp_path / "a.npz", "label")


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 64)
    for end in files.ENDINGS:
        with pytest.raises(UserError, match=r"holds 0.0 GiB; at most 0.0 fit into memory"):
            files.read(save(tmp_path / f"a{end}"), "label")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no client_3.npz \(.csv, .parquet\); expected one file"),
        (["client_3.npz", "client_3.csv"], "client_3.npz and client_3.csv; expected one"),
    ],
)
def test_a_client_has_one_file(tmp_path, names, message):
    for name in names:
        save(tmp_path / name)
    with pytest.raises(UserError, match=message):
        files.read_client(tmp_path, "label", 3)
