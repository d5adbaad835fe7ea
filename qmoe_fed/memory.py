"""How much memory there is for this process: the machine's, or what its container may take.

A container's limit stands in files of its control group (Linux: ``memory.max`` in version 2 of
cgroups, ``memory.limit_in_bytes`` in version 1); those of the groups above bind as well.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil

from qmoe_fed.errors import UserError

GROUPS, MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def total(groups: Path = GROUPS, mount: Path = MOUNT) -> int:
    """Return the bytes this process may take at most, swap left aside."""
    return min([int(psutil.virtual_memory().total), *_limits(groups, mount)])


def check(told: str, need: int) -> None:
    """Refuse what needs so many bytes, at least, if there are fewer; UserError with the number."""
    if need > (have := total()):
        raise UserError(
            f"{told}: takes at least {need / 2**30:,.0f} GiB of memory, this machine or container "
            f"has {have / 2**30:,.0f} GiB; ask for less"
        )


def _limits(groups: Path, mount: Path) -> Iterator[int]:
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, name = (mount / "memory", "memory.limit_in_bytes") if kinds else (mount, "memory.max")
        inner = root / path.lstrip("/")  # is not there where a container sees itself as the root
        for file in (folder / name for folder in (inner, *inner.parents) if folder.is_dir()):
            if file.is_relative_to(root) and file.is_file():
                limit = file.read_text().strip()
                if limit.isdecimal():  # or "max"
                    yield int(limit)
