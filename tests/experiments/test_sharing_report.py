"""Intervals and the verdict, from numbers made up for it."""

import pytest
from qmoe_fed.studies.sharing.grid import DEFAULT, FULL, TASKS, Cell, Job
from qmoe_fed.studies.sharing.methods import METHODS, Outcome
from qmoe_fed.studies.sharing.report import by_cell, difference, print_report, sign_of, verdict
from qmoe_fed.studies.sharing.runs import Record
from qmoe_fed.studies.statistics import Interval

ACCURACIES = {
    "router": [0.90, 0.91, 0.92],
    "nothing": [0.80, 0.815, 0.82],  # 9.5 to 10 points below, always
    "everything": [0.91, 0.90, 0.92],  # as often above as below
    "random router": [0.95, 0.96, 0.97],  # 5 points above, always
}


def records(task="mnist, 2 classes"):
    found = []
    for sharing in METHODS:
        for seed, accuracy in enumerate(ACCURACIES.get(sharing, [0.5, 0.6, 0.7])):
            result = Outcome(accuracy, 0.1, 0.4, accuracy, 96.0, 1.5, 0.2, 0.1, 0.4, 1)
            found.append(Record(Job(Cell(task, "quantum", sharing), seed, {}), result, 1.0))
    return found


def test_an_interval_decides_only_when_zero_is_outside():
    intervals = [Interval(m, m - 0.5, m + 0.5) for m in (1, 0.4, 0, -0.4, -1)]
    assert [sign_of(interval) for interval in intervals] == [1, 0, 0, 0, -1]


def test_cells_are_compared_seed_by_seed():
    outcomes = by_cell(list(reversed(records())))
    cell = Cell("mnist, 2 classes", "quantum", "router")
    gap = difference(outcomes, cell, "nothing", "accuracy")
    assert gap.mean == pytest.approx((0.1 + 0.095 + 0.1) / 3)
    assert gap.half < 0.01  # far less than the spread over seeds of either
    assert sign_of(difference(outcomes, cell, "everything", "accuracy")) == 0


def test_the_verdict_is_what_the_intervals_say():
    lines = verdict(by_cell(records()))
    place = "mnist, 2 classes / quantum"
    assert "nothing (local only): sharing the router wins in 1 of 1 cells, loses in 0" in lines[0]
    assert lines[1] == f"  wins: {place} (+9.8)"
    assert "(FedAvg): sharing the router wins in 0 of 1 cells, loses in 0, and 1 are" in lines[2]
    assert "a random router nobody trains: sharing the router wins in 0 of 1" in lines[3]
    assert lines[4] == f"  loses: {place} (-5.0)"


def test_the_report_names_every_cell(capsys):
    print_report(by_cell(records()))
    printed = capsys.readouterr().out
    for sharing in METHODS:
        assert f"quantum, {sharing} " in printed
    assert "91.0 ± 2.5" in printed
    assert "mnist, 2 classes, quantum" in printed


def test_the_grids_hold_what_they_promise():
    assert len(FULL.cells) == len(set(FULL.cells)) == len(TASKS) * 6 * 7
    assert set(DEFAULT.cells) <= set(FULL.cells)
    assert (DEFAULT.epochs, DEFAULT.seeds) == (FULL.epochs, FULL.seeds)
