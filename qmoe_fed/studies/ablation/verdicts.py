"""How a published number is judged by ours, in words.

A number published without a spread is one run of unknown luck. It is reproduced if it lies, as it
was rounded, where one more run of ours would fall with 95% probability. Where that depends on what
the paper leaves open, every reading is a case, and the verdict names what decides.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from qmoe_fed.studies.statistics import Interval

Case = tuple[str, ...]
"""The values of the factors a case differs in, e.g. ``("2 experts", "rate 0.01")``."""

HOLDS = ""
HIGHER, LOWER = "ours is higher", "ours is lower"
REPRODUCED = "reproduced"


def compare(claim: float, rounding: float, ours: Interval) -> str:
    """Return ``HOLDS``, ``HIGHER`` or ``LOWER``.

    Args:
        claim: The published number.
        rounding: Half a unit of its last digit.
        ours: In which one more run would fall.
    """
    if claim + rounding < ours.low:
        return HIGHER
    return LOWER if claim - rounding > ours.high else HOLDS


def judge(findings: Mapping[Case, str], factors: Sequence[str]) -> str:
    """Return the verdict on a claim.

    Args:
        findings: ``HOLDS``, or what was found instead, by case.
        factors: What the cases differ in, in the order of the values in a case.
    """
    found = set(findings.values())
    if found == {HOLDS}:
        return REPRODUCED
    if len(found) == 1:
        return f"not {REPRODUCED}: {found.pop()}"
    deciding = _deciding(findings, len(factors))
    where: dict[str, dict[str, None]] = {}
    for case, finding in findings.items():
        where.setdefault(finding, {})[", ".join(case[i] for i in deciding)] = None
    *few, most = sorted(where, key=lambda finding: len(where[finding]))
    parts = [f"{finding or REPRODUCED} for {' / '.join(where[finding])}" for finding in few]
    what = " and the ".join(factors[i] for i in deciding)
    start = f"depends on the {what}" if HOLDS in found else f"not {REPRODUCED}"
    return f"{start}: {'; '.join(parts)}; otherwise {most or REPRODUCED}"


def _deciding(findings: Mapping[Case, str], count: int) -> tuple[int, ...]:
    """Return the fewest factors whose values tell what was found."""
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            groups: dict[Case, set[str]] = {}
            for case, finding in findings.items():
                groups.setdefault(tuple(case[i] for i in chosen), set()).add(finding)
            if all(len(group) == 1 for group in groups.values()):
                return chosen
    raise ValueError("two cases have the same factors")
