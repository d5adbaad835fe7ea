"""The study's grid, its shortest cells, and the tables made of them."""

import sys

import pandas as pd
import pytest
from privacy_study import ATTACKS, GRID, MECHANISMS, ROUTERS, STUDY, Scope, Settings, cells
from privacy_views import PANELS, utility_by_epsilon

from qmoe_fed.config import Config
from qmoe_fed.errors import UserError
from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.views.tables import make_tables
from qmoe_fed.federated.build import make_rules
from strategies.audits import measures

QUICK = Settings(Scope(quick=True, seeds=2))
COSTS = GRID["utility"]


def test_every_cell_is_a_run_that_can_be_made_and_is_there_once():
    for settings in (QUICK, Settings(Scope(seeds=2))):
        grid = cells(settings)
        assert len({cell.key for cell in grid}) == len(grid)
        for cell in grid:
            given = cell.arguments
            Config.from_flat({**given["settings"], **given.get("changes", {})})
        assert {cell.factors["attack"] for cell in grid} == {*ATTACKS, "epsilon", "utility"}
    routers = {cell.factors["router"] for cell in grid if "router" in cell.factors}
    assert routers == {*ROUTERS, *COSTS["shared"]}
    mechanisms = {cell.factors["mechanism"] for cell in grid}
    assert {*MECHANISMS} <= mechanisms <= {*MECHANISMS, *COSTS["by"]}
    assert {"none", "not trained", "central-dp", "local-dp"} <= mechanisms
    for norms in COSTS["clip-norms"].values():
        assert {name for name, own in COSTS["by"].items() if "mechanisms" in own} == {*norms}


def test_a_part_is_chosen_by_name():
    part = cells(Settings(Scope(seeds=2, only="labels of a client / linear")))
    every = {cell.key for cell in cells(Settings(Scope(seeds=2)))}
    assert {cell.factors["router"] for cell in part} == {"linear", "linear, solved"}
    assert {cell.key for cell in part} < every


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
        small(measures.client_memberships, targets=1, worlds=10, rounds=2),
        small(measures.epsilons, rounds=1, runs=20),
        small(measures.utilities, rounds=1),
    ]
    shown = {column["of"] for table in GRID["tables"] for column in table["columns"]}
    assert shown <= {name for row in rows for name in row}
    assert all(row["seed"] == 0 for row in rows)


def test_guessing_anothers_samples_is_no_worse_than_it_says():
    row = small(measures.inversions, targets=4, starts=1, steps=1)
    assert row["by_mean"] == pytest.approx(1.1, abs=0.4)
    assert row["parameters"] == 6


def test_what_an_epsilon_costs_is_drawn_for_each_way_of_sharing():
    grid = cells(Settings(Scope(quick=True, only="utility")))
    grid = [cell for cell in grid if cell.arguments["settings"]["seed"] == 0]
    rows = pd.DataFrame(
        {**cell.factors, "seed": seed, "noise_multiplier": 1.0, "worst10": 0.4}
        | dict.fromkeys(PANELS, 0.5 + 0.01 * seed)
        for cell in grid
        for seed in (0, 1)
    )
    figure = utility_by_epsilon(rows)
    assert len(figure.axes) == 2 * len(PANELS)
    assert all(len(ax.lines) == len(set(rows["mechanism"])) for ax in figure.axes)
    (table,) = make_tables(GRID["tables"][:1], rows)
    assert len(table.rows) == len(grid)
    assert ["router", "none", "–", "1.00"] in [list(row[:4]) for row in table.rows]


ATTACK = """
def attack(config):
    return {"found": config.federation.seed / 2, "rounds": config.federation.num_server_rounds}

def odd(config):
    return "much"
"""


@pytest.fixture
def own_attack(tmp_path, monkeypatch):
    (tmp_path / "an_attack.py").write_text(ATTACK)
    (tmp_path / "run.toml").write_text("num-server-rounds = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("an_attack", None)


def test_an_attack_of_ones_own_is_a_study(own_attack, capsys):
    asked = ["--audit", "an_attack:attack", "--run", "run.toml", "--seeds", "3", "--processes", "1"]
    assert main(STUDY, [*asked, "--output-dir", "out"]) == 0
    assert "| none | 0.5 ± 1.24 | 7 ± 0 |" in (own_attack / "out" / "tables.md").read_text()


def test_what_cannot_be_asked_is_refused(own_attack, capsys):
    def told(*asked):
        assert main(STUDY, [*asked, "--output-dir", "out"]) == 2
        return capsys.readouterr().err

    assert "seeds = 1: must be at least 2" in told("--seeds", "1")
    assert "cannot read config file" in told("--audit", "an_attack:attack", "--run", "none.toml")
    assert "no module 'nowhere'" in told("--audit", "nowhere:attack", "--run", "run.toml")
    assert "only = 'nothing'" in told("--only", "nothing")
    assert not (own_attack / "out").exists()
    with pytest.raises(UserError, match="returned 'much': expected a dict of numbers"):
        measures.own({}, "an_attack:odd")
