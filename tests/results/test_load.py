import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qmoe_fed.errors import UserError
from qmoe_fed.models import build_model
from qmoe_fed.results import Run, load_run


def raw_test_inputs(run: Run, client: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a client's test points in the plane and their classes."""
    test = run.data([client]).test
    low, high = run.projection.low, run.projection.high
    return low + test.x[0].numpy() / np.pi * (high - low), test.y[0].numpy()


def test_predictions_are_those_of_the_mixture_on_disk(finished: Run, run_path: Path) -> None:
    x = np.array([[0.5, 0.25], [-0.3, 0.9], [1.6, -0.4]], np.float32)
    angles = (x - finished.projection.low) / (finished.projection.high - finished.projection.low)
    for client in range(7):
        local = load_file(run_path / "experts" / f"host-{client % 2}.safetensors")
        row = local.pop("clients").tolist().index(client)
        state = load_file(run_path / "shared.safetensors")
        state |= {name: values[row] for name, values in local.items()}
        mixture = build_model(finished.config.model, 2, 2)
        mixture.load_state_dict(state)
        with torch.no_grad():
            expected = mixture(torch.from_numpy(angles * np.pi).float()).softmax(-1)
        assert finished.predict(client, x) == pytest.approx(expected.numpy(), abs=1e-5)


DEVICES = {"noise_channel": "bit-flip", "noise_strength": "uniform(0, 0.3)", "layers": "1..3"}


@pytest.mark.parametrize("devices", [{}, DEVICES], ids=["same devices", "unequal devices"])
@pytest.mark.parametrize("share", ["router", "experts", "all", "none"])
def test_predictions_score_what_the_federation_reported(
    share: str, devices: dict[str, str], federate: Callable[..., Path]
) -> None:
    run = load_run(federate(share=share, num_server_rounds=1, num_unseen_clients=0, **devices))
    assert run.complete.tolist() == list(range(7))
    for client in range(7):
        x, y = raw_test_inputs(run, client)
        accuracy = (run.predict(client, x).argmax(1) == y).mean()
        assert accuracy == pytest.approx(run.clients["accuracy"][client])
        load = [run.clients[f"load-{i}"][client] for i in range(4)]
        assert run.routing(x, client).mean(0) == pytest.approx(load, abs=1e-5)


def test_a_run_with_few_shots_predicts_with_exact_probabilities(
    federate: Callable[..., Path],
) -> None:
    settings = {"shots": 2, "shot_gradients": "parameter-shift", "num_server_rounds": 1}
    run = load_run(federate(**settings, num_unseen_clients=0))
    weights = run.routing([[0.5, 0.25]])
    assert weights.sum() == pytest.approx(1)
    assert not np.isclose(2 * weights, (2 * weights).round(), atol=1e-3).all()


def test_raw_inputs_are_what_predict_takes(finished: Run) -> None:
    test = finished.raw([3]).test
    assert finished.projection.inputs(test.x.numpy()) == pytest.approx(finished.data([3]).test.x)
    accuracy = (finished.predict(3, test.x[0]).argmax(1) == test.y[0].numpy()).mean()
    assert accuracy == pytest.approx(finished.clients["accuracy"][3])


def test_angles_are_refused_where_raw_inputs_are_wanted(finished: Run) -> None:
    angles = finished.data([3]).test.x[0]
    with pytest.raises(UserError, match=r"seems to hold angles.*raw\(clients\)"):
        finished.predict(3, angles)
    with pytest.raises(UserError, match="not finite"):
        finished.routing([[np.nan, 0.0]])
    beyond = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)), -1).reshape(-1, 2)
    assert finished.predict(3, beyond).shape == (49, 2)  # a picture may reach beyond the data


def test_pixels_are_not_divided(federate: Callable[..., Path]) -> None:
    digits = {"dataset": "digits", "qubits": 4, "num_server_rounds": 1, "num_unseen_clients": 0}
    run = load_run(federate(**digits))
    test = run.raw([3]).test
    x, y = test.x[0][test.mask[0]], test.y[0][test.mask[0]].numpy()
    assert x.max() == 16
    accuracy = (run.predict(3, x).argmax(1) == y).mean()
    assert accuracy == pytest.approx(run.clients["accuracy"][3])
    with pytest.raises(UserError, match="no pixel is above 1"):
        run.predict(3, x / 16)


def test_lists_are_inputs(finished: Run) -> None:
    (probabilities,) = finished.predict(client=3, x=[[0.5, 0.25]])
    assert probabilities.sum() == pytest.approx(1)
    assert finished.routing([[0.5, 0.25]]) == pytest.approx(finished.routing([[0.5, 0.25]], 3))


def test_a_run_holds_what_was_written(finished: Run) -> None:
    assert finished.config.federation.num_clients == 7
    assert finished.rounds["round"].tolist() == [0, 1, 2, 3]
    last = finished.rounds["accuracy-mean"].iloc[-1]
    assert last == finished.summary["accuracy_mean"]
    assert finished.clients["accuracy"].mean() == pytest.approx(last)
    assert finished.unseen["client"].tolist() == [7, 8, 9, 10, 11]
    shared = finished.summary["unseen"]["shared"]["8"]["mean"]
    assert finished.unseen["shared-8"].mean() == pytest.approx(shared)
    assert finished.summary["unseen_accuracy_shared"] == shared


def test_a_missing_value_is_read_as_nan(own_copy: Path) -> None:
    clients = json.loads((own_copy / "clients.json").read_text())
    clients["loss"][2] = None
    (own_copy / "clients.json").write_text(json.dumps(clients))
    assert np.isnan(load_run(own_copy).clients["loss"]).tolist() == [i == 2 for i in range(7)]


@pytest.mark.parametrize("client", [-1, 7])
def test_there_is_no_such_client(finished: Run, client: int) -> None:
    with pytest.raises(UserError, match=f"no client {client}: the run has clients 0 to 6"):
        finished.predict(client, [[0.0, 0.0]])


def test_experts_that_were_saved_elsewhere(own_copy: Path) -> None:
    (own_copy / "experts" / "host-1.safetensors").unlink()
    run = load_run(own_copy)
    assert run.complete.tolist() == [0, 2, 4, 6]
    assert run.predict(4, [[0.0, 0.0]]).shape == (1, 2)
    with pytest.raises(UserError, match=r"parameters of client 3 are not in .*experts"):
        run.predict(3, [[0.0, 0.0]])


def test_a_router_of_ones_own_has_an_owner(federate: Callable[..., Path]) -> None:
    run = load_run(federate(share="experts", num_server_rounds=1, num_unseen_clients=0))
    with pytest.raises(UserError, match=r"routing\(x, client=0\)"):
        run.routing([[0.0, 0.0]])


@pytest.mark.parametrize("x", [[0.5, 0.25], [[0.5, 0.25, 0.1]], [[[0.5, 0.25]]]])
def test_inputs_of_the_wrong_shape(finished: Run, x: object) -> None:
    with pytest.raises(UserError, match=r"expected \(samples, 2\)"):
        finished.predict(0, x)  # type: ignore[arg-type]


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the directory of a run"):
        load_run(tmp_path)


def test_a_run_that_has_not_ended(own_copy: Path) -> None:
    (own_copy / "summary.json").unlink()
    with pytest.raises(UserError, match="has not finished"):
        load_run(own_copy)


def test_a_run_that_failed(own_copy: Path) -> None:
    summary = {"status": "failed", "reason": "RuntimeError: no", "rounds": 2}
    (own_copy / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"failed \(RuntimeError: no\)"):
        load_run(own_copy)


@pytest.mark.parametrize(
    "name", ["config.json", "summary.json", "metrics.jsonl", "shared.safetensors"]
)
def test_damaged_files_are_named(own_copy: Path, name: str) -> None:
    (own_copy / name).write_bytes((own_copy / name).read_bytes()[:-9])
    with pytest.raises(UserError, match=name):
        load_run(own_copy)


@pytest.mark.parametrize("name", ["clients", "unseen"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client": [0, 0]}, "its columns differ in length, 2 clients are named"),
        ({"client": [0.5] * 7}, r"an entry of client is 0\.5, expected a whole number"),
        ({"client": None}, "client is None where a list should be"),
        ({"more": ["a"]}, "an entry of 'more' is 'a', expected a number or null"),
    ],
)
def test_a_damaged_table_is_named_when_it_is_read(
    own_copy: Path, name: str, changes: dict[str, object], message: str
) -> None:
    content = json.loads((own_copy / f"{name}.json").read_text())
    run = load_run(own_copy)
    (own_copy / f"{name}.json").write_text(json.dumps({**content, **changes}))
    with pytest.raises(UserError, match=rf"{name}\.json is damaged: {message}; restore the file"):
        vars(Run)[name].func(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: own.pop("clients"), "'clients' must be different numbers from 0 to 6"),
        (lambda own: own.update(clients=own["clients"] + 9), "different numbers from 0 to 6"),
        (lambda own: own.pop("experts.bias"), "'experts.bias' is missing, expected torch.float32"),
        (lambda own: own.update({"experts.bias": own["experts.bias"][:1]}), r"\(3, 4, 2\)"),
        (lambda own: own.update({"experts.bias": own["experts.bias"].int()}), "is torch.int32"),
        (lambda own: own.update(more=torch.zeros(2)), "'more' has not one row for each of 3"),
    ],
)
def test_damaged_experts_are_named_when_they_are_read(
    own_copy: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    file, run = own_copy / "experts" / "host-1.safetensors", load_run(own_copy)
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(UserError, match=rf"host-1\.safetensors is damaged: .*{message}"):
        run.predict(3, [[0.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("wall_seconds", None, "a number"),
        ("epsilon", 1.5, "a number"),  # without a delta
        ("accuracy_mean", "high", "a number or null"),
        ("share", "all", "but router in config.json"),
        ("rounds", 10**12, "rounds is 1000000000000, more than there were to be"),
        ("unseen_clients_scored", {}, "expected a whole number"),
    ],
)
def test_figures_of_a_summary_that_are_none(
    own_copy: Path, name: str, value: object, expected: str
) -> None:
    content = json.loads((own_copy / "summary.json").read_text())
    (own_copy / "summary.json").write_text(json.dumps({**content, name: value}))
    with pytest.raises(UserError, match=rf"summary.json is damaged: .*{expected}"):
        load_run(own_copy)


@pytest.mark.parametrize("name", ["train-samples", "layers"])
def test_settings_that_no_memory_holds(own_copy: Path, name: str) -> None:
    config = json.loads((own_copy / "config.json").read_text())
    config["settings"][name] = 10**12
    (own_copy / "config.json").write_text(json.dumps(config))
    run = load_run(own_copy)
    with pytest.raises(UserError, match=f"{name} = 1000000000000.* takes at least .* GiB"):
        run.data([run.complete[1]])


def test_settings_of_another_version(own_copy: Path) -> None:
    config = json.loads((own_copy / "config.json").read_text())
    config["settings"]["flux"] = 1
    config["versions"]["qmoe-fed"] = "99.0"
    (own_copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"qmoe-fed 99\.0.*'flux'"):
        load_run(own_copy)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", '{"settings": 3}'),
        ("config.json", '{"settings": {"flux": 1}}'),
        ("summary.json", "{}"),
        ("summary.json", '"completed"'),
        ("summary.json", "[" * 100_000),
        ("metrics.jsonl", "3\n"),
    ],
)
def test_what_is_json_but_not_of_a_run_is_refused(own_copy: Path, name: str, content: str) -> None:
    (own_copy / name).write_text(content)
    with pytest.raises(UserError, match=r"damaged|cannot be used"):
        load_run(own_copy)
