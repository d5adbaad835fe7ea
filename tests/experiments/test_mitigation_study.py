"""The study of error mitigation: its grid, and what its rows hold."""

import pandas as pd
import pytest
from mitigation_study import GRID, cells

from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.fitted import Settings
from qmoe_fed.experiments.measures.mitigation import mitigations
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.views.tables import make_tables, only


@pytest.fixture(scope="module")
def rows():
    names = ["none", "linear", "exponential, readout inverted"]
    noise = {"gates": {**GRID["noise"]["both"], "methods": names}}
    given = {"model": GRID["models"]["quantum"], "rate": 0.1, "source": Source(MOONS, 2)}
    given |= {"protocol": Protocol(max_epochs=1), "noise": noise, "strengths": [0.04]}
    return pd.DataFrame(mitigations(**given, methods=GRID["methods"], shots=[0, 600]).rows)


def test_every_cell_is_there_once():
    grid = [*cells(Settings())]
    assert len({cell.key for cell in grid}) == len(grid) == 4


def test_mitigated_weights_are_nearer_to_those_without_noise(rows):
    error = only(rows, shots=0).groupby("method")["error"].mean()
    assert error["linear"] < error["none"]
    assert error["exponential, readout inverted"] < 0.1 * error["none"]
    assert (rows["accuracy"].between(0, 1)).all()


def test_shots_are_shared_out_and_circuits_are_counted(rows):
    assert rows.groupby("method")["circuits"].first().to_dict() == {
        "none": 1,
        "linear": 2,
        "exponential, readout inverted": 3,
    }
    drawn, exact = (only(rows, shots=shots)["error"].mean() for shots in (600, 0))
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.05)


def test_tables_are_made(rows):
    rows = rows.assign(model="quantum")
    tables = make_tables(GRID["tables"], rows)
    assert [len(table.rows) for table in tables] == [3, 2, 4, 3]
