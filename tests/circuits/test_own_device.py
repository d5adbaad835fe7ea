"""A PennyLane device that comes with a plugin: found by its entry point, measured with shots."""

from pathlib import Path

import pytest
import torch

from qmoe_fed.circuits import engine, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.config import Config, ModelConfig
from qmoe_fed.errors import UserError
from qmoe_fed.federated import Federation
from qmoe_fed.models import build_model

DEVICE = "pennylane:recorded.device"


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Install the plugin as pip would: a folder of metadata beside its module."""
    about = tmp_path / "recorded_device-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: recorded-device\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[pennylane.plugins]\nrecorded.device = recorded_device:Recorded\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from recorded_device import Recorded

    Recorded.record.clear()
    Recorded.calibrations.clear()
    return Recorded


def test_its_frequencies_are_those_of_the_circuit(recorded):
    circuit, shots = layered(2, 2, 2, reuploading=True), 4000
    run = engine(DEVICE, "calibration = 'morning', seed = 3", shots)
    x, theta = torch.tensor([[0.3, 2.0], [1.1, 0.4]]).double(), torch.linspace(0, 3, 4).double()
    found, exact = run(circuit, x, theta, None), statevector.run(circuit, x, theta)
    assert recorded.record == [(2, shots)]
    assert set(recorded.calibrations) == {"morning"}
    torch.testing.assert_close((found * shots).round(), found * shots, atol=1e-9, rtol=0)
    assert ((found - exact).abs() < 4 * (exact * (1 - exact) / shots).sqrt() + 1e-9).all()
    assert not torch.equal(found, exact)


@pytest.mark.parametrize(("way", "others"), [("parameter-shift", 2 * 2), ("spsa", 2)])
def test_a_federation_trains_on_it_and_each_step_runs_so_many_circuits(recorded, way, others):
    clients, samples, tests, shots = 3, 4, 3, 50
    config = Config.from_flat(
        {
            "num-clients": clients,
            "num-unseen-clients": 0,
            "train-samples": samples,
            "test-samples": tests,
            "batch-size": samples,
            "local-epochs": 1,
            "num-experts": 2,
            "layers": 1,
            "expert-fit": "gradient",
            "execution": "serial",
            "circuit-engine": DEVICE,
            "device-options": "seed = 5",
            "shots": shots,
            "shot-source": "device",
            "shot-gradients": way,
        }
    )
    federation = Federation(config)
    recorded.record.clear()  # what was tried before
    start = federation.init()
    state, report = federation.round(start)
    assert report.counted
    assert {taken for _, taken in recorded.record} == {shots}
    assert [number for number, _ in recorded.record] == [samples, others * samples] * clients
    assert 1e-3 < (state.shared["router.theta"] - start.shared["router.theta"]).abs().max() < 1
    accuracy = federation.score(state).columns["accuracy"]
    assert ((accuracy >= 0) & (accuracy <= 1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device_options": "seed = 3"}, "are for a PennyLane device: set circuit-engine"),
        ({"shot_source": "device"}, "are for a PennyLane device: set circuit-engine"),
        ({"shot_gradients": "spsa"}, "shot-gradients = 'spsa' needs shots above 0"),
        (
            {"shot_source": "device", "shots": 5, "circuit_engine": DEVICE},
            "no exact probabilities to train on",
        ),
        ({"device_options": "seed", "circuit_engine": DEVICE}, "device-options = 'seed': expected"),
    ],
)
def test_settings_that_no_device_can_follow_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        ModelConfig(**settings)


@pytest.mark.parametrize("options", ["calibration = 'broken'", "tuning = 3"])
def test_options_that_a_device_does_not_take_are_refused_before_anything_runs(recorded, options):
    config = ModelConfig(circuit_engine=DEVICE, device_options=options)
    with pytest.raises(UserError, match=r"'recorded\.device' cannot be made with them"):
        build_model(config, 2, 2)
    assert recorded.record == []
