"""How much memory there is, where a container has less than its machine."""

import psutil
import pytest

from qmoe_fed import memory

MACHINE, GIBIBYTE = psutil.virtual_memory().total, 2**30


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "1073741824\n"}, GIBIBYTE),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1073741824\n"}, GIBIBYTE),
        ("0::/a/b\n", {"a/b/memory.max": "1073741824", "a/memory.max": "2147483648"}, GIBIBYTE),
        ("0::/not/seen/inside\n", {"memory.max": "1073741824\n"}, GIBIBYTE),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        (
            "7:cpu,cpuacct:/d\n5:memory:/d\n0::/\n",
            {"memory/d/memory.limit_in_bytes": "1073741824\n"},
            GIBIBYTE,
        ),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_limit_of_a_container_is_known(tmp_path, groups, limits, expected):
    (tmp_path / "cgroup").write_text(groups)
    for name, text in limits.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    assert memory.total(tmp_path / "cgroup", tmp_path / "fs") == expected


def test_there_are_machines_without_groups(tmp_path):
    assert memory.total(tmp_path / "none", tmp_path) == MACHINE
    assert 0 < memory.total() <= MACHINE
