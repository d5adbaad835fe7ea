"""The study's grid, its shortest cells, and the tables made of them."""

import pytest
from privacy_study import ATTACKS, GRID, MECHANISMS, ROUTERS, STUDY, Scope, Settings, cells

from qmoe_fed.config import Config
from qmoe_fed.experiments.command import main
from qmoe_fed.federated.build import make_rules
from strategies.audits import measures

QUICK = Settings(Scope(quick=True, seeds=2))


def test_every_cell_is_a_run_that_can_be_made_and_is_there_once():
    for settings in (QUICK, Settings(Scope(seeds=2))):
        grid = [*cells(settings)]
        assert len({cell.key for cell in grid}) == len(grid)
        for cell in grid:
            Config.from_flat(cell.arguments["settings"])
        assert {cell.factors["attack"] for cell in grid} == {*ATTACKS, "epsilon"}
    assert {cell.factors["router"] for cell in grid if "router" in cell.factors} == {*ROUTERS}
    assert {cell.factors["mechanism"] for cell in grid} == {*MECHANISMS}


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name != "none"])
def test_what_a_mechanism_is_called_is_what_it_spends_in_ten_rounds(name):
    settings = {**GRID["common"], **GRID["epsilon"]["settings"], **MECHANISMS[name]}
    (mechanism,) = make_rules(Config.from_flat(settings)).mechanisms
    for number in range(1, 11):
        mechanism.before_round(number)
    assert mechanism.metrics()["epsilon"] == pytest.approx(8, abs=0.02)


def small(measure, **arguments):
    cell = next(c for c in cells(QUICK) if c.measure is measure)
    (row,) = measure(**{**cell.arguments, **arguments}).rows
    return row


def test_rows_hold_what_the_tables_show():
    rows = [
        small(measures.properties, rounds=1),
        small(measures.inversions, targets=2, starts=1, steps=3),
        small(measures.sample_memberships, targets=1, worlds=40),
        small(measures.client_memberships, targets=1, worlds=10),
        small(measures.epsilons, rounds=1, runs=20),
    ]
    shown = {column["of"] for table in GRID["tables"] for column in table["columns"]}
    assert shown <= {name for row in rows for name in row}
    assert all(row["seed"] == 0 for row in rows)


def test_guessing_anothers_samples_is_no_worse_than_it_says():
    row = small(measures.inversions, targets=4, starts=1, steps=1)
    assert row["by_mean"] == pytest.approx(1.1, abs=0.4)
    assert row["parameters"] == 6


def test_what_cannot_be_asked_is_refused(capsys):
    assert main(STUDY, ["--seeds", "1"]) == 2
    assert "seeds = 1: must be at least 2" in capsys.readouterr().err
