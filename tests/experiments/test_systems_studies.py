"""The studies of other systems: what they compare is of the sizes that they state."""

from pathlib import Path

import first_phase as phase_study
import numpy as np
import pytest
import quantum_experts
import regimes_study
import shots_study
import torch

from qmoe_fed.config import Config
from qmoe_fed.config.settings import read_toml
from qmoe_fed.experiments import federations
from qmoe_fed.experiments.datasets import Source
from qmoe_fed.experiments.engine import Runner, Store
from qmoe_fed.experiments.measures import first_phase
from qmoe_fed.experiments.measures.noise import Noisy, noisy_fits
from qmoe_fed.experiments.models import all_parameters, build
from qmoe_fed.experiments.protocol import Protocol
from qmoe_fed.models import build_model

SHOTS, REGIMES = (
    read_toml(Path(study.__file__).with_name(f"{name}.toml"))
    for study, name in ((shots_study, "shots"), (regimes_study, "regimes"))
)


def test_models_beside_the_quantum_experts_have_as_many_parameters():
    sizes = {
        name: all_parameters(build(about["settings"], about["qubits"], 4))
        for name, about in quantum_experts.GRID["models"].items()
    }
    assert {name: size for name, size in sizes.items() if not 103 <= size <= 111} == {
        "one circuit, 5 qubits, shallow": 44,
        "one linear map, 3 components": 16,
        "one linear map, 5 components": 24,
    }
    assert sizes["quantum experts, 3 qubits"] == sizes["one circuit, 5 qubits"] == 109


def test_every_cell_of_the_studies_has_a_key_of_its_own():
    settings = quantum_experts.Settings.from_flat({"seeds": 2})
    found = [
        *quantum_experts.cells(settings),
        *federations.cells(SHOTS, federations.Scope(seeds=2)),
        *federations.cells(REGIMES, federations.Scope(seeds=2)),
        *phase_study.cells(phase_study.Scope(seeds=2)),
    ]
    assert len({cell.key for cell in found}) == len(found) > 40


def test_noise_acts_on_router_and_experts_alike():
    source, protocol = Source("moons", 2), Protocol(max_epochs=1)
    options = "layers = 1, head = false"
    base = {"expert": "quantum", "expert-options": options, "num-experts": 2, "layers": 1}
    tests = [Noisy("depolarizing", "gate", (0.0, 0.75))]
    for settings in ({**base, "router": "linear"}, base):
        rows = noisy_fits(settings, 0.05, source, protocol, None, tests).rows
        assert [row["strength"] for row in rows] == [0.0, 0.0, 0.75, 0.75]
        # nothing of x is left at 3/4: every sample gets the same scores, ties go to class 0
        assert all(0.4 < row["accuracy"] < 0.6 for row in rows[2:])
        assert rows[0]["parameters"] == (6 if "router" in settings else 2) + 4


def test_synthetic_samples_are_normed_and_a_seeds_own():
    own, held_out = first_phase.samples(first_phase.SYNTHETIC, 3, "")
    other, _ = first_phase.samples(first_phase.SYNTHETIC, 4, "")
    assert (own.x.shape, held_out.x.shape) == ((1, 400, 16), (1, 100, 16))
    torch.testing.assert_close(own.x.norm(dim=-1), torch.ones(1, 400))
    assert not torch.equal(own.x, other.x)


def test_the_notebooks_models_are_fitted_and_stand_beside_its_numbers(tmp_path, monkeypatch):
    monkeypatch.setitem(phase_study.GRID, "protocol", {"epochs": 1, "rate": 0.05})
    settings = phase_study.Settings.from_flat({"seeds": 2, "quick": True})
    runner = Runner(Store(tmp_path, "first-phase", settings), 1)
    (table,) = phase_study.report(settings, runner).tables
    assert len(table.rows) == 6
    rows = runner(list(phase_study.cells(settings.scope)))
    assert (rows["accuracy"].between(0.3, 1)).all()
    by_model = rows.groupby("model")["parameters"].first()
    expected = {"classical experts": 51 + 3 * 182, "one circuit": 34, "quantum experts": 51 + 102}
    assert by_model.to_dict() == expected


def test_pixels_of_a_quarter_are_means():
    pixels = np.zeros((1, 784), np.uint8)
    pixels.reshape(28, 28)[7:14, 21:28] = 255
    assert first_phase._small(pixels).tolist() == [[0] * 7 + [1] + [0] * 8]


@pytest.mark.parametrize("grid", [SHOTS, REGIMES])
def test_settings_of_federations_are_accepted(grid):
    for cell in federations.cells(grid, federations.Scope(seeds=2)):
        config = Config.from_flat(cell.arguments["settings"])
        build_model(config.model, 2, 2)  # circuits have what is to be mitigated


def test_a_list_in_a_run_stands_for_several_and_a_quick_look_takes_the_first():
    whole, quick = (
        [
            (*cell.factors.values(), cell.arguments["settings"]["seed"], cell.arguments["at"])
            for cell in federations.cells(SHOTS, federations.Scope(seeds=2, quick=quick))
        ]
        for quick in (False, True)
    )
    assert len(whole) == 2 * (1 + 3 + 3)
    assert whole[:3] == [
        ("exact", 0, 0, [1, 3, 10]),
        ("exact", 0, 1, [1, 3, 10]),
        ("parameter shift", 10, 0, [1, 3, 10]),
    ]
    assert quick == [
        (name, shots, seed, [1, 3])
        for name, shots in (("exact", 0), ("parameter shift", 10), ("SPSA", 10))
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("study", [shots_study, regimes_study])
def test_a_study_is_called_like_its_file(study):
    assert study.STUDY.name == study.__name__.replace("_", "-")
    assert study.STUDY.settings().scope.seeds == 5
