"""The study of error mitigation: its grid, and what its rows hold."""

import pandas as pd
import pytest
from mitigation_study import GRID, METHODS, Scope, Settings, cells

from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.measures.mitigation import Exposure, mitigations
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.views.tables import make_tables, only


@pytest.fixture(scope="module")
def rows():
    noise = {"noise-channel": "depolarizing", "noise-strength": 0.03, "readout-error": 0.05}
    names = ["none", "linear", "exponential, readout inverted"]
    given = {"model": GRID["models"]["quantum"], "rate": 0.1, "source": Source(MOONS, 2)}
    about = {"noise": "gates", "strength": 0.03}
    exposure = Exposure(noise, about, {name: METHODS[name] for name in names})
    given |= {"protocol": Protocol(max_epochs=1), "exposures": [exposure], "shots": [0, 600]}
    return pd.DataFrame(mitigations(**given).rows)


def test_every_cell_is_there_once():
    for quick in (False, True):
        grid = [*cells(Settings(Scope(quick=quick)))]
        assert len({cell.key for cell in grid}) == len(grid)


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
    gates = rows.groupby("method")["gates"].first()
    assert gates["none"] == 11  # two embeddings, three layers of two RY and a CZ
    assert gates["linear"] == 22
    drawn, exact = (only(rows, shots=shots)["error"].mean() for shots in (600, 0))
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.05)


def test_tables_are_made(rows):
    rows = rows.assign(model="quantum")
    tables = make_tables(GRID["tables"], rows)
    assert [len(table.rows) for table in tables] == [3, 2, 4, 3]
