"""Runs from Python: the same numbers as the command line's, as frames and pictures."""

import gc
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import torch

import qmoe_fed as q
from qmoe_fed.cli import main
from qmoe_fed.models import LinearRouter

APP = Path(__file__).parents[1] / "simulations" / "moons_fed"
SMALL = {"num_clients": 5, "num_unseen_clients": 3, "num_server_rounds": 3, "local_epochs": 2}
SMALL |= {"train_samples": 16, "test_samples": 12, "unseen_samples": "4,8", "unseen_epochs": 3}
SEEN: list[int] = []


class OwnRouter(LinearRouter):
    """A router that is given itself."""


def stop_in_the_third_round(updates, weights):
    SEEN.append(len(updates))
    if len(SEEN) == 4:  # the first call is a trial
        raise KeyboardInterrupt
    return updates.mean(0)


@pytest.fixture(scope="module")
def run():
    return q.run(progress=False, **SMALL)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The directory in which temporary ones are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same_results(one, other):
    for name in ("clients", "unseen"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    timeless = [run.rounds.drop(columns="seconds") for run in (one, other)]
    pd.testing.assert_frame_equal(*timeless, check_exact=True)
    assert all(torch.equal(one.shared[name], other.shared[name]) for name in other.shared)
    assert {**one.summary, "wall_seconds": 0} == {**other.summary, "wall_seconds": 0}


def test_torch_gets_back_the_threads_it_had():
    before = torch.get_num_threads()
    brief = {"num_server_rounds": 1, "num_unseen_clients": 0, "threads": 1}
    try:
        torch.set_num_threads(2)
        q.run(progress=False, **{**SMALL, **brief})
        assert torch.get_num_threads() == 2
        q.MixtureClassifier(num_server_rounds=1).fit(np.eye(8), np.arange(8) % 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_numbers_are_those_of_the_command_line(run, tmp_path, capfd):
    pairs = {"engine": "local", "figures": False, **SMALL}.items()
    given = " ".join(f"{k.replace('_', '-')}={json.dumps(v)}" for k, v in pairs)
    folder = tmp_path / "results"
    assert main(["run", str(APP), "--run-config", given, "--output-dir", str(folder)]) == 0
    loaded = q.load_run(folder)
    assert type(loaded) is type(run) is q.Run
    same_results(run, loaded)


def test_frames(run):
    assert run.rounds["round"].tolist() == [0, 1, 2, 3]
    assert run.rounds["accuracy-mean"].iloc[-1] == pytest.approx(run.clients["accuracy"].mean())
    assert run.clients["client"].tolist() == [0, 1, 2, 3, 4]
    assert run.unseen.shape == (3, 7)
    x = run.raw([3]).test.x[0]
    right = run.predict(client=3, x=x).argmax(1) == run.raw([3]).test.y[0].numpy()
    assert right.mean() == pytest.approx(run.clients["accuracy"][3])


def test_progress_is_one_bar_and_nothing_stays(scratch, capfd):
    run = q.run(**SMALL)
    out, err = capfd.readouterr()
    assert "3/3" in err
    assert f"accuracy={run.summary['accuracy_mean']:.3f}" in err
    assert out == ""
    (folder,) = scratch.iterdir()
    assert folder == run.path
    del run
    gc.collect()
    assert not list(scratch.iterdir())


def test_a_run_that_fails_leaves_nothing(scratch, capfd):
    for wrong, why in [
        ({"num_client": 3}, "unknown setting 'num-client'. Did you mean 'num-clients'"),
        ({"engine": "flower"}, "engine: a run in this process has none"),
        ({"router": "nobody:Router"}, "no module 'nobody'"),
        ({"resume": True}, "is not the directory of a run"),
    ]:
        with pytest.raises(q.UserError, match=why):
            q.run(**{**SMALL, **wrong}, progress=False)
    assert not list(scratch.iterdir())


def test_results_stay_where_they_are_asked_for_and_nothing_else_goes(run, scratch, capfd):
    (scratch / "mine").mkdir()
    (scratch / "mine" / "summary.json").write_text("{}")
    (scratch / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(q.UserError, match="is not empty"):
        q.run(output_dir=scratch / "mine", **SMALL)
    assert (scratch / "mine" / "summary.json").read_text() == "{}"
    kept = q.run(output_dir=scratch / "kept", figures=False, progress=False, **SMALL)
    same_results(run, kept)
    del kept
    gc.collect()
    same_results(run, q.load_run("kept"))


def test_a_run_that_was_stopped_goes_on(scratch, capfd):
    own = {**SMALL, "aggregator": stop_in_the_third_round, "figures": False, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        q.run(output_dir=scratch / "stopped", checkpoint_every=1, **own)
    resumed = q.run(output_dir=scratch / "stopped", resume=True, progress=False)
    same_results(resumed, q.run(**own))


def test_classes_functions_and_samples_are_given_themselves(scratch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), rng.integers(2, size=60)
    table = q.Table(x, y, np.arange(60) % 5)
    own = {**SMALL, "num_unseen_clients": 0, "num_clients": np.int64(5), "progress": False}
    run = q.run(router=OwnRouter, dataset=table, angles="bounds(-4, 4)", **own)
    del table
    gc.collect()
    assert run.config.model.router == "test_notebook:OwnRouter"
    assert run.raw([2]).train.x.shape[1] + run.raw([2]).test.x.shape[1] == 12
    assert run.predict(2, x[:3]).shape == (3, 2)


def test_html_is_a_summary_and_escaped(run):
    html = run._repr_html_()
    assert f"{100 * run.summary['accuracy_mean']:.1f}%" in html
    assert "shared router, own experts" in html
    evil = replace(run, summary={**run.summary, "reason": "<script>alert(1)</script>"})
    assert "<script>" not in evil._repr_html_()
    assert "&lt;script&gt;" in evil._repr_html_()
    assert repr(run) == f"<Run in {run.path}: completed>"


def test_pictures(run):
    assert set(run.pictures) >= {"learning-curves", "decision-regions", "unseen-clients"}
    picture = run.plot("learning-curves")
    assert isinstance(picture, matplotlib.figure.Figure)
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(
        q.UserError, match=r"unknown picture 'regions'.*Allowed: .*decision-regions"
    ):
        run.plot("regions")


def test_comparison(run, tmp_path):
    other = q.run(progress=False, router="linear", **{**SMALL, "num_unseen_clients": 0})
    both = q.compare([run, other])
    assert list(both.runs) == [
        "num-unseen-clients = 3, router = quantum",
        "num-unseen-clients = 0, router = linear",
    ]
    assert both.frame["router"].tolist() == ["quantum", "linear"]
    assert both.frame["accuracy_mean"].tolist() == [
        one.summary["accuracy_mean"] for one in (run, other)
    ]
    assert both.frame["unseen_accuracy_shared"].isna().tolist() == [False, True]
    assert not {"epsilon", "seed", "figures", "output-dir"} & {*both.frame}
    lines = [line.get_ydata() for line in both.plot().axes[0].get_lines()]
    assert [len(line) for line in lines] == [4, 4]
    assert lines[1].tolist() == other.rounds["accuracy-mean"].tolist()


def test_names_in_a_comparison(run):
    assert list(q.compare([run, run]).runs) == ["#0", "#1"]
    html = q.compare({"<b>": run})._repr_html_()
    assert "<b>" not in html
    assert 'src="data:image/png;base64,' in html
    with pytest.raises(q.UserError, match="at least one run"):
        q.compare([])
