"""Ensembles in superposition and amplified routers: what is computed, and what rows hold."""

import math

import amplification_study
import ensemble_study
import pandas as pd
import pytest
import torch

from qmoe_fed.circuits import Circuit, amplitude_embedding, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.circuits.compose import superpose
from qmoe_fed.experiments.datasets import MOONS, Source
from qmoe_fed.experiments.fitted import Settings
from qmoe_fed.experiments.measures.coherent import (
    SCALE,
    Amplitudes,
    Tempered,
    Voters,
    amplifications,
    ensembles,
    sharpened,
)
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.experiments.views.tables import make_tables, only
from qmoe_fed.models import LinearRouter, Mixture

X = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)).double() * math.pi
GIVEN = {"rate": 0.1, "source": Source(MOONS, 2), "protocol": Protocol(max_epochs=1)}


def test_the_mixture_is_what_one_coherent_circuit_reads():
    one = Circuit(2, layered(2, 2, 2).operations, "expval", 1)
    mixture = Mixture(Amplitudes(4), Voters(one, 4)).double()
    generator = torch.Generator().manual_seed(1)
    for parameter in mixture.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double()
    amplitudes = (1 + mixture.router.change).tolist()
    register = Circuit(2, (amplitude_embedding(*amplitudes, wires=(0, 1)),))
    whole = superpose(register, [one] * 4)
    z = statevector.run(whole, X, mixture.experts.theta.flatten())
    torch.testing.assert_close(mixture(X), SCALE * torch.cat([z, -z], -1))


def test_a_temperature_sharpens():
    p = torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    expected = torch.tensor([[1 / 17, 16 / 17], [0.5, 0.5]])
    torch.testing.assert_close(sharpened(p, 0.5), expected)
    torch.testing.assert_close(sharpened(p, 1.0), p)
    router = LinearRouter(2, 3)
    torch.testing.assert_close(Tempered(router)(X.float()), router(X.float()))


@pytest.fixture(scope="module")
def ensemble():
    routers = {"linear": ensemble_study.GRID["routers"]["linear router"]}
    return pd.DataFrame(ensembles(4, 1, routers, **GIVEN).rows)


def test_every_way_to_weigh_has_a_row_for_each_seed(ensemble):
    assert (ensemble.groupby("weights")["seed"].nunique() == 2).all()
    trained = ensemble.groupby("weights")["trained"].first()
    assert trained[["equal", "the best one", "trained", "linear"]].tolist() == [0, 0, 4, 12]
    assert ensemble["accuracy"].between(0, 1).all()
    tables = make_tables(ensemble_study.GRID["tables"], ensemble.assign(count=4))
    assert [len(table.rows) for table in tables] == [6, 5]


def test_rows_of_amplification():
    grid = amplification_study.GRID
    model, about = grid["models"]["quantum"], {"uses": [0, 15], "temperatures": [0.5, 1.0]}
    plain, once, tempered = (
        pd.DataFrame(amplifications(model, k, t, **about, **GIVEN).rows)
        for k, t in ((0, False), (1, False), (0, True))
    )
    assert set(plain["way"]) == {
        "0 rounds, trained",
        "1 rounds, put in",
        "2 rounds, put in",
        "temperature, chosen",
    }
    assert set(once["way"]) == {"1 rounds, trained"}
    assert set(tempered["way"]) == {"temperature, trained"}
    rows = pd.concat([plain, once, tempered])
    assert rows["sharpness"].between(0.5, 1).all()
    assert (rows.groupby(["way", "uses"])["seed"].nunique() == 2).all()
    # five shots of one round, three uses of the circuit each, know fifths
    fifths = only(once, uses=15)["sharpness"] * 5 * 200
    assert (fifths - fifths.round()).abs().max() < 1e-3
    tables = make_tables(grid["tables"], rows.assign(model="quantum"))
    assert [len(table.rows) for table in tables] == [6, 5]


@pytest.mark.parametrize("study", [ensemble_study, amplification_study])
def test_every_cell_is_there_once(study):
    grid = [*study.cells(Settings())]
    assert len({cell.key for cell in grid}) == len(grid)
