"""Published numbers beside ours, judged mechanically.

A number published without a spread is one run of unknown luck. Ours agrees with it if it lies, as
it was rounded, where one more run of ours would fall with 95% probability.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from qmoe_fed.config.settings import Scalar, read_toml
from qmoe_fed.experiments.statistics import Interval, mean_interval, run_interval
from qmoe_fed.experiments.views import tables
from qmoe_fed.experiments.views.tables import Table, only

AGREES, HIGHER, LOWER = "agrees", "higher", "lower"
NO_DIFFERENCE, NOT_MEASURED = "no difference", "not measured"

Select = Callable[[pd.DataFrame], pd.DataFrame]
Line = tuple[str, str, str, str, str]
"""A published number beside ours: claim, where it is printed, as printed, ours, ours is."""


@dataclass(frozen=True)
class Published:
    """A published number, and which rows of ours it is about.

    Attributes:
        claim: What it is a number of.
        value: The number, shares in [0, 1].
        rounding: Half a unit of its last digit.
        where: In which section, table or notebook it is printed.
        unit: ``%``, ``points`` (a difference of shares), ``epochs`` or nothing.
        relation: ``=``; ``<=``: a bound of the median; ``lead``: a difference, none if our interval
            holds zero; ``sign``: a difference whose size is left open; ``between``: one end of a
            range that reaches to ``until``.
        until: The other end.
        rows: Values of factors that our rows have; none: the study says what ours is.
        metric: A column of them.
        minus: Factors in which the rows that are subtracted, seed by seed, differ.
        over: The same for a ratio of means.
        by: A factor whose values are lines of their own.
    """

    claim: str
    value: float
    rounding: float
    where: str
    unit: str = ""
    relation: str = "="
    until: float = math.nan
    rows: Mapping[str, Scalar] = field(default_factory=dict)
    metric: str = "accuracy"
    minus: Mapping[str, Scalar] = field(default_factory=dict)
    over: Mapping[str, Scalar] = field(default_factory=dict)
    by: str = ""

    @property
    def text(self) -> str:
        """The number as it is printed."""
        if self.relation == "between":
            return f"{self.value:g} to {self.until:g}"
        scale = 100 if self.unit in ("%", "points") else 1
        places = max(0, -math.floor(math.log10(2 * self.rounding * scale) + 1e-9))
        shown = f"{scale * self.value:.{places}f}{'%' if self.unit == '%' else ''}"
        return f"≤ {shown}" if self.relation == "<=" else shown

    def measured(self, frame: pd.DataFrame) -> ArrayLike | None:
        """Return ours: a number per seed, or a ratio; None if there are no such rows."""
        own = only(frame, **self.rows)
        other = only(frame, **{**self.rows, **self.minus, **self.over})
        if own.empty or other.empty:
            return None
        if self.over:
            return float(own[self.metric].mean() / other[self.metric].mean())
        if self.minus:
            return tables.paired(own, other, self.metric)
        return own[self.metric].to_numpy(np.float64)

    def judge(self, ours: ArrayLike | Interval) -> str:
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
        own = ours if isinstance(ours, Interval) else _one_more(np.asarray(ours, np.float64))
        low = self.value - self.rounding
        high = (self.until if self.relation == "between" else self.value) + self.rounding
        return HIGHER if high < own.low else LOWER if low > own.high else AGREES

    def show(self, ours: ArrayLike, run: bool) -> str:
        """Return ours as a text; ``run``: with the interval of one more run."""
        x = np.asarray(ours, np.float64)
        if x.ndim and self.unit in ("%", "points"):
            signed = self.unit == "points" and not run
            return (tables.difference(x) if signed else tables.percent(x, run)).replace(" ± ", "±")
        if self.unit == "epochs" and self.relation == "sign":
            mean = mean_interval(x)
            return f"{mean.mean:+.1f}±{mean.half:.1f}"
        if self.unit == "epochs":
            return tables.epochs(x)
        return f"{x.mean():.0f}" if (x == x.round()).all() else f"{x.mean():.3f}"


def _one_more(x: np.ndarray) -> Interval:
    """Return where one more run would fall; infinite where fewer than two seeds have a number."""
    if x.ndim == 0:
        return Interval(float(x), float(x), float(x))
    known = x[~np.isnan(x)]
    return run_interval(known) if len(known) > 1 else Interval(math.inf, math.inf, math.inf)


def read_published(file: Path, study: str) -> dict[str, Published]:
    """Return the published numbers of a study in a TOML file, by name."""
    return {name: Published(**about) for name, about in read_toml(file)[study].items()}


def lines(
    published: Published,
    frame: pd.DataFrame,
    cases: Sequence[Select],
    run: bool = False,
    about: str = "",
) -> list[Line]:
    """Return a line per value of ``by``, with ours in each case, e.g. a learning rate."""
    by = published.by
    found = []
    for value in only(frame, **published.rows)[by].unique() if by else (about,):
        own = only(frame, **{by: value}) if by else frame
        ours = [x for case in cases if (x := published.measured(case(own))) is not None]
        if ours or not by:
            texts = [published.show(x, run) for x in ours]
            named = f"{tables.word(value)} {by}" if isinstance(value, float) else tables.word(value)
            found.append(line(published, texts, [published.judge(x) for x in ours], named))
    return found


def line(published: Published, ours: Sequence[str], found: Sequence[str], about: str = "") -> Line:
    """Return a line of the comparison: ours as texts, and how ours stands to it, by case."""

    def one(texts: Sequence[str]) -> str:
        return " / ".join(texts if len(set(texts)) > 1 else texts[:1])

    claim = f"{published.claim}, {about}" if about else published.claim
    said = one(ours) or tables.NONE, one(found) or NOT_MEASURED
    return claim, published.where, published.text, *said


def comparison(title: str, rows: Sequence[Line], cases: str, note: str) -> Table:
    """Return a table of published numbers, ours by the ``cases``, and whether they agree."""
    header = ("claim", "printed in", "printed", f"ours ({cases})", "ours is")
    return Table(title, header, rows, note, 5)
