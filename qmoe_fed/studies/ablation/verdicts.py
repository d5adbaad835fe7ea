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
    instead = ", ".join(dict.fromkeys(text for text in findings.values() if text != HOLDS))
    if not instead:
        return "reproduced"
    if HOLDS not in findings.values():
        return f"not reproduced: {instead}"
    deciding = _deciding(findings, len(factors))
    where = dict.fromkeys(
        " with ".join(case[i] for i in deciding)
        for case, found in findings.items()
        if found == HOLDS
    )
    what = " and the ".join(factors[i] for i in deciding)
    return f"depends on the {what}: reproduced for {', '.join(where)}; otherwise {instead}"


def _deciding(findings: Mapping[Case, str], count: int) -> tuple[int, ...]:
    """Return the fewest factors whose values tell whether a claim holds."""
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            groups: dict[Case, set[bool]] = {}
            for case, found in findings.items():
                key = tuple(case[i] for i in chosen)
                groups.setdefault(key, set()).add(found == HOLDS)
            if all(len(values) == 1 for values in groups.values()):
                return chosen
    raise ValueError("two cases have the same factors")
