"""Settings of the circuit, its noise and its shots: how they are read, and which are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmoe_fed.config import Config
from qmoe_fed.config.values import Spread
from qmoe_fed.errors import UserError


def config_of(**settings):
    return Config.from_flat({key.replace("_", "-"): value for key, value in settings.items()})


def test_a_config_is_hashable_and_survives_its_flat_form():
    config = config_of(noise_channel="bit-flip", noise_strength="uniform(0, 0.05)", layers="1..3")
    assert Config.from_flat(config.to_flat()) == config
    assert hash(Config.from_flat(config.to_flat())) == hash(config)
    assert config != Config() == Config.from_flat({})
    with pytest.raises(AttributeError):
        config.model.qubits = 3


@given(st.floats(0, 1), st.floats(0, 1))
def test_strengths_are_numbers_or_spreads(a, b):
    low, high = sorted((a, b))
    config = config_of(
        noise_channel="depolarizing",
        noise_strength=f"uniform({low!r}, {high!r})",
        readout_error=f" uniform( {low!r},{high!r} ) ",
    )
    assert config.model.strengths == config.model.readout_errors == Spread(low, high)
    config = config_of(noise_channel="depolarizing", noise_strength=low)
    assert config.model.strengths == Spread(low, low)
    assert config.model.readout_errors == Spread(0.0, 0.0)


def test_whole_numbers_are_read_as_numbers():
    assert config_of(readout_error=1).model.readout_error == 1.0
    assert type(config_of(readout_error=1).model.readout_error) is float


@pytest.mark.parametrize(
    ("layers", "depths"), [(3, range(3, 4)), ("1..3", range(1, 4)), (" 2 .. 2", range(2, 3))]
)
def test_layers_are_a_number_or_a_range(layers, depths):
    assert config_of(layers=layers).model.depths == depths


@pytest.mark.parametrize("layers", [0, -1, "0..2", "3..1", "1..", "3", "..3", "1..2..3", "a..b"])
def test_other_layers_are_refused(layers):
    with pytest.raises(UserError, match=r"^layers = .*: expected a number above 0, or a range"):
        config_of(layers=layers)


@pytest.mark.parametrize("key", ["noise_strength", "readout_error"])
@pytest.mark.parametrize(
    "value",
    [
        *(-0.1, 1.1, "0.1", "uniform(0.2, 0.1)", "uniform(0, 2)", "uniform(nan, 1)"),
        *("uniform(0)", "uniform(0, 0.1, 0.2)", "normal(0, 1)", "uniform(a, b)", "", "uniform(,)"),
    ],
)
def test_other_strengths_are_refused(key, value):
    with pytest.raises(
        UserError, match=rf"^{key.replace('_', '-')} = .*: expected a number in \[0, 1\], or"
    ):
        config_of(noise_channel="bit-flip", **{key: value})


NOISY = {"noise_channel": "depolarizing", "noise_strength": 0.1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 2.5}, "layers = 2.5: expected int or str, got float"),
        ({"noise_strength": True}, "noise-strength = True: expected float or str, got bool"),
        ({"shots": -1}, "shots = -1: must be at least 0"),
        ({"noise_channel": "depolarising"}, "Did you mean 'depolarizing'"),
        ({"noise_placement": "gates"}, "Did you mean 'gate'"),
        ({"shot_gradients": "exakt"}, "Did you mean 'exact'"),
        ({"circuit": "ring"}, "unknown circuit 'ring'. Allowed: layered. Or an import path"),
        ({"router": "mlp", **NOISY}, "router = 'mlp': noise-channel needs router = 'quantum'"),
        (
            {"router": "mlp", "shots": 9, "readout_error": 0.1},
            "router = 'mlp': readout-error, shots needs router = 'quantum'",
        ),
        ({"router": "trig", "layers": "1..2"}, "'trig': a range of layers needs router ="),
        ({"router": "a:B", "circuit": "c:d"}, "router = 'a:B': circuit needs router = 'quantum'"),
        ({"noise_strength": 0.1}, "noise-strength = 0.1 needs a noise-channel: one of depolar"),
        (
            {"circuit_engine": "pennylane:lightning.qubit", "execution": "serial", **NOISY},
            "cannot simulate noise; use 'statevector', or 'pennylane:default.mixed'",
        ),
        (
            {"circuit_engine": "pennylane:default.qubit", "readout_error": "uniform(0, 0.1)"},
            "circuit-engine = 'pennylane:default.qubit' cannot simulate noise",
        ),
        ({"shot_gradients": "parameter-shift"}, "'parameter-shift' needs shots above 0"),
        (
            {"circuit": "my:ring", "entangler": "none", "reuploading": False},
            "circuit = 'my:ring' would ignore embedding, entangler and reuploading",
        ),
        ({"layers": "1..3", "aggregator": "median"}, "layers = '1..3': clients that train diff"),
        ({"layers": "1..3", "strategy": "my:Own"}, "need strategy = 'router' and aggregator"),
    ],
)
def test_what_cannot_go_together_is_refused(settings, message):
    with pytest.raises(UserError) as error:
        config_of(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"readout": "expval-adapter", "shots": 100, "shot_gradients": "parameter-shift"},
        {"circuit_engine": "pennylane:default.mixed", "execution": "serial", **NOISY},
        {"layers": "2..2", "aggregator": "krum"},
        {"circuit": "my_circuit:ring", "layers": "1..3", **NOISY},
        {"noise_channel": "bit-flip", "noise_placement": "notebook"},
    ],
)
def test_what_can_go_together_is_accepted(settings):
    config_of(**settings)
