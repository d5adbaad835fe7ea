"""Published numbers beside ours, judged mechanically.

A number published without a spread is one run of unknown luck. Ours agrees with it if it lies, as
it was rounded, where one more run of ours would fall with 95% probability.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments.breakdown import Breakdown
from qmoe_fed.experiments.statistics import Interval, mean_interval, run_interval
from qmoe_fed.experiments.views.tables import NONE, Table, difference, epochs, percent

AGREES, HIGHER, LOWER = "agrees", "higher", "lower"
NO_DIFFERENCE, NOT_MEASURED = "no difference", "not measured"

Ours = ArrayLike | Interval | Breakdown
"""One number per seed (at least 2), one exact number, or a number with its interval."""


@dataclass(frozen=True)
class Published:
    """A published number.

    Attributes:
        claim: What it is a number of.
        value: The number, shares in [0, 1].
        rounding: Half a unit of its last digit.
        where: In which section, table or notebook it is printed.
        unit: ``%``, ``points`` (a difference of shares), ``epochs`` or nothing.
        relation: ``=``; ``<=``: it is claimed as a bound of the median; ``lead``: a difference that
            is none if our interval holds zero; ``sign``: a difference whose size is left open;
            ``between``: one end of a range that reaches to ``until``.
        until: The other end.
    """

    claim: str
    value: float
    rounding: float
    where: str
    unit: str = ""
    relation: str = "="
    until: float = math.nan

    @property
    def text(self) -> str:
        """The number as it is printed."""
        if self.relation == "between":
            return f"{self.value:g} to {self.until:g}"
        scale = 100 if self.unit in ("%", "points") else 1
        places = max(0, -math.floor(math.log10(2 * self.rounding * scale) + 1e-9))
        shown = f"{scale * self.value:.{places}f}{'%' if self.unit == '%' else ''}"
        return f"≤ {shown}" if self.relation == "<=" else shown

    def judge(self, ours: Ours) -> str:
        """Return how ours stands to it: agrees, higher, lower, no difference."""
        if self.relation == "<=":
            median = np.median(np.nan_to_num(np.asarray(ours, np.float64), nan=np.inf))
            return AGREES if median <= self.value else HIGHER
        if self.relation in ("lead", "sign"):
            sign = mean_interval(np.asarray(ours)).sign
            same = sign * self.value > 0
            if sign == 0 or (self.relation == "lead" and not same):
                return NO_DIFFERENCE
            if self.relation == "sign":
                return AGREES if same else HIGHER if sign > 0 else LOWER
        own = _interval(ours)
        low = self.value - self.rounding
        high = (self.until if self.relation == "between" else self.value) + self.rounding
        return HIGHER if high < own.low else LOWER if low > own.high else AGREES

    def show(self, ours: Ours, run: bool, largest: float) -> str:
        """Return ours as a text; ``run``: with the interval of one more run."""
        if isinstance(ours, Breakdown):
            return ours.text(largest)
        if isinstance(ours, Interval):
            return f"{ours.mean:.3g}"
        x = np.asarray(ours, np.float64)
        if self.unit == "%":
            return percent(x, run)
        if self.unit == "points":
            return percent(x, run) if run else difference(x)
        if self.unit == "epochs":
            if self.relation == "sign":
                mean = mean_interval(x)
                return f"{mean.mean:+.1f} ± {mean.half:.1f}"
            return epochs(x)
        return f"{x.mean():g}" if (x == x.round()).all() else f"{x.mean():.3f}"


def read_published(file: Path) -> dict[str, Published]:
    """Return the published numbers in a TOML file, by name."""
    return {name: Published(**about) for name, about in read_toml(file).items()}


@dataclass(frozen=True)
class Line:
    """A published number and what we measured of it.

    Attributes:
        published: The number.
        ours: By case, e.g. learning rate; none: not measured.
        about: What all cases have in common, e.g. the number of experts.
        largest: The largest strength that was measured, for breakdown points.
    """

    published: Published
    ours: Mapping[str, Ours]
    about: str = ""
    largest: Mapping[str, float] | None = None


def comparison(
    title: str, lines: Sequence[Line], cases: str, note: str, run: bool = False
) -> Table:
    """Return a table of published numbers, ours, and whether they agree.

    Args:
        title: Of the table.
        lines: Its rows.
        cases: What ours are separated by, for the heading.
        note: Below the table.
        run: Show intervals of one more run instead of those of the mean.
    """
    rows = []
    for line in lines:
        largest = line.largest or {}
        texts = [
            line.published.show(own, run, largest.get(case, math.nan)).replace(" ± ", "±")
            for case, own in line.ours.items()
        ]
        found = [line.published.judge(own) for own in line.ours.values()] or [NOT_MEASURED]
        rows.append(
            (
                f"{line.published.claim}{f', {line.about}' if line.about else ''}",
                line.published.where,
                line.published.text,
                " / ".join(texts) or NONE,
                found[0] if len(set(found)) == 1 else " / ".join(found),
            )
        )
    header = ("claim", "printed in", "printed", f"ours{f' ({cases})' if cases else ''}", "ours is")
    return Table(title, header, rows, note, 5)


def _interval(ours: Ours) -> Interval:
    if isinstance(ours, Interval):
        return ours
    if isinstance(ours, Breakdown):
        return ours.interval
    x = np.asarray(ours, np.float64)
    if x.ndim == 0:
        return Interval(float(x), float(x), float(x))
    known = x[~np.isnan(x)]
    if len(known) < 2:  # never reached, or by one seed
        return Interval(math.inf, math.inf, math.inf)
    return run_interval(known)
