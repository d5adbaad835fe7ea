"""Images and labels in the IDX format of MNIST (LeCun, Cortes & Burges), gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.errors import UserError

Bytes = NDArray[np.uint8]

_MAGIC = {"images": bytes([0, 0, 8, 3]), "labels": bytes([0, 0, 8, 1])}
"""How files begin: bytes, in so many dimensions."""

MOST = 2**30  # bytes of a file that is read; MNIST's largest has 47 million


def read(images: Path, labels: Path) -> tuple[Bytes, Bytes]:
    """Return images, shape ``(n, height, width)``, and their labels, shape ``(n,)``.

    Raises:
        UserError: A file cannot be read, is damaged or holds something else, or the two do not
            have the same number of entries.
    """
    x, y = _read(images, "images"), _read(labels, "labels")
    if len(x) != len(y):
        raise UserError(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels")
    return x, y


def write(path: Path, array: Bytes) -> None:
    """Write images ``(n, height, width)`` or labels ``(n,)``, not gzipped."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(header + array.tobytes())


def _read(path: Path, expected: str) -> Bytes:
    due = _MAGIC[expected]
    start = 4 + 4 * due[-1]
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(start)
            _check_magic(path, header[:4], expected)
            shape = [int.from_bytes(header[i : i + 4]) for i in range(4, start, 4)]
            size = math.prod(shape)
            if size > MOST:
                raise UserError(f"{path} announces {size} bytes; the most that are read is {MOST}")
            content = file.read(size + 1)  # no more: gzip makes a million bytes of a thousand
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if len(header) < start or len(content) != size:
        raise UserError(
            f"{path} is damaged: its header announces {start + size} bytes, it has "
            f"{len(header) + len(content)}{' at least' * (len(content) > size)}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _check_magic(path: Path, magic: bytes, expected: str) -> None:
    if magic == (due := _MAGIC[expected]):
        return
    if what := {begin: name for name, begin in _MAGIC.items()}.get(magic):
        raise UserError(f"{path} holds {what}, not {expected}; were two files swapped?")
    raise UserError(
        f"{path} is not an IDX file of {expected}: it begins with the bytes "
        f"{magic.hex(' ')!r}, expected {due.hex(' ')!r}"
    )
