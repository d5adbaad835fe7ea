import gzip
import tracemalloc

import numpy as np
import pytest

from qmoe_fed.data import idx
from qmoe_fed.errors import UserError

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "images", tmp_path / "labels"
    for path, array in zip(paths, (IMAGES, LABELS), strict=True):
        idx.write(path, array)
    return paths


def compressed(path):
    """Replace a file by its gzipped twin and return the new path."""
    new = path.with_name(path.name + ".gz")
    new.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return new


def refusal(images, labels):
    with pytest.raises(UserError) as error:
        idx.read(images, labels)
    return str(error.value)


def test_the_bytes_are_those_of_the_format(files):
    header = bytes([0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 3])
    assert files[0].read_bytes() == header + bytes(range(60))
    assert files[1].read_bytes() == bytes([0, 0, 8, 1, 0, 0, 0, 5, 3, 1, 4, 1, 5])


@pytest.mark.parametrize("zipped", [False, True])
def test_what_was_written_is_read(files, zipped):
    images, labels = map(compressed, files) if zipped else files
    x, y = idx.read(images, labels)
    np.testing.assert_array_equal(x, IMAGES)
    np.testing.assert_array_equal(y, LABELS)


def test_swapped_files_are_recognised(files):
    images, labels = files
    assert refusal(labels, images) == (
        f"{labels} holds labels, not images; were two files swapped?"
    )
    assert refusal(images, images) == f"{images} holds images, not labels; were two files swapped?"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", [59 + 16, 70, 16, 11, 5, 4])
def test_truncated_contents_are_recognised(files, size, zipped):
    images, labels = files
    images.write_bytes(images.read_bytes()[:size])
    if zipped:
        images = compressed(images)
    message = refusal(images, labels)
    assert message.startswith(f"{images} is damaged: its header announces ")
    assert f"it has {size};" in message


def test_bytes_too_many_are_recognised(files):
    images, labels = files
    labels.write_bytes(labels.read_bytes() + b"\0")
    assert refusal(images, labels) == (
        f"{labels} is damaged: its header announces 13 bytes, it has 14 at least; fetch it again"
    )


def test_no_more_is_unpacked_than_is_announced(files, tmp_path):
    images, labels = files
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as file:
        file.write(labels.read_bytes() + bytes(50_000_000))
    tracemalloc.start()
    assert "announces 13 bytes, it has 14 at least" in refusal(images, bomb)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    with gzip.open(bomb, "wb") as file:
        file.write(labels.read_bytes()[:4] + b"\xff" * 4 + bytes(10))
    assert "announces 4294967295 bytes; the most that are read is" in refusal(images, bomb)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\x89PNG\r\n", b"\0\0\x0d\x03" + bytes(20)])
def test_other_files_are_recognised(files, content):
    images, labels = files
    images.write_bytes(content)
    message = refusal(images, labels)
    assert f"{images} is not an IDX file of images" in message
    assert "expected '00 00 08 03'" in message


@pytest.mark.parametrize("harm", ["not gzip", "cut", "flipped"])
def test_damaged_gzip_is_recognised(files, harm):
    images, labels = files
    images = compressed(images)
    content = bytearray(images.read_bytes())
    if harm == "not gzip":
        content[:2] = b"PK"
    elif harm == "cut":
        content = content[:-12]
    else:
        content[len(content) // 2] ^= 0xFF
    images.write_bytes(content)
    message = refusal(images, labels)
    assert message.startswith(f"{images} is damaged (")
    assert message.endswith("; fetch it again")


def test_different_numbers_of_images_and_labels_are_refused(files):
    images, labels = files
    idx.write(labels, LABELS[:4])
    assert refusal(images, labels) == f"{images} holds 5 images, but {labels} holds 4 labels"


def test_a_file_that_cannot_be_read_is_named(files, tmp_path):
    images, _ = files
    assert refusal(images, tmp_path) == f"cannot read {tmp_path}: Is a directory"
    assert refusal(images, tmp_path / "none").endswith("none: No such file or directory")
