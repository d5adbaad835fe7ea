"""The whole comparison on two cells: choose, run, show; and its grid."""

import pandas as pd
import pytest
from compare_sharing import (
    CHOICE_SEEDS,
    GRID,
    STUDY,
    Scope,
    Settings,
    candidates,
    cell,
    choose,
    counts,
    name,
    report,
)

from qmoe_fed.config import Config
from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.engine import Runner, Store
from qmoe_fed.experiments.statistics import Interval, mean_interval
from qmoe_fed.experiments.views.tables import make_tables, only, paired

ACCURACIES = {
    "router, solved": [0.90, 0.91, 0.92],
    "nothing": [0.80, 0.815, 0.82],  # 9.5 to 10 points below, always
    "nothing, solved": [0.91, 0.90, 0.92],  # as often above as below
    "random router, solved": [0.95, 0.96, 0.97],  # 5 points above, always
}
PLACE = "mnist, 2 classes", "quantum"
WAYS = GRID["sets"]["mixtures"]


def rows():
    """Return rows made up for it, in no order."""
    about = dict(zip(("task", "router"), PLACE, strict=True)) | {"candidate": "adam"}
    about |= {"use": "report"}
    uses = {"entropy": 1.5, "class_information": 0.2, "client_information": 0.1}
    metrics = {"std": 0.1, "worst10": 0.4, "bytes_up": 96, "max_load": 0.4, "dead_experts": 1}
    found = [
        {
            **about,
            **uses,
            **metrics,
            "sharing": name,
            "seed": seed,
            "accuracy": x,
            "unseen": x,
            "use": "report",
        }
        for name in WAYS
        for seed, x in enumerate(ACCURACIES.get(name, [0.5, 0.6, 0.7]))
    ]
    return pd.DataFrame(found[::-1])


def test_an_interval_decides_only_when_zero_is_outside():
    intervals = [Interval(m, m - 0.5, m + 0.5) for m in (1, 0.4, 0, -0.4, -1)]
    assert [interval.sign for interval in intervals] == [1, 0, 0, 0, -1]


def gap(frame, metric, other):
    """Return by how much the shared router with solved experts is ahead."""
    pair = only(frame, sharing="router, solved"), only(frame, sharing=other)
    return mean_interval(paired(*pair, metric))


def test_ways_are_compared_seed_by_seed():
    found = gap(rows(), "accuracy", "nothing")
    assert found.mean == pytest.approx((0.1 + 0.095 + 0.1) / 3)
    assert found.half < 0.01  # far less than the spread over seeds of either
    assert gap(rows(), "accuracy", "nothing, solved").sign == 0
    with pytest.raises(ValueError, match="same seeds"):
        gap(rows().query("sharing != 'nothing' or seed > 0"), "accuracy", "nothing")


def test_the_tables_count_and_name_every_way():
    tables = {table.title: table for table in make_tables(GRID["tables"], rows())}
    (gaps,) = tables["The shared router, experts solved, minus other ways of sharing"].rows
    assert gaps == [*PLACE, "+9.8 ± 0.7", "+0.0 ± 2.5", "-5.0 ± 0.0", "+0.0 ± 2.5"]
    by_router = tables["mnist, 2 classes: accuracy, mean over clients, %"]
    assert {row[0] for row in by_router.rows} == set(WAYS)
    assert ["router, solved", "91.0±2.5"] in by_router.rows
    (uses,) = tables["Imbalance of the experts, router shared, experts solved"].rows
    assert uses == [*PLACE, "1.50", "0.20", "0.10", "0.40", "1.0"]


def test_the_rival_is_chosen_on_the_seeds_of_the_choice():
    trials = pd.DataFrame(
        {
            **dict(zip(("task", "router"), PLACE, strict=True)),
            "sharing": way,
            "candidate": "adam",
            "accuracy": 0.9 if way == "nothing" else 0.1,  # which is not the better one later
            "unseen": 0.5,
        }
        for way in WAYS
    )
    tables = {table.title: table for table in counts(rows(), trials)}
    found = {row[0]: row[1:] for row in tables["router, solved: accuracy"].rows}
    assert found == {
        "nothing": ("1", "0", "0", "1"),
        "nothing, solved": ("0", "1", "0", "1"),
        "random router": ("1", "0", "0", "1"),
        "random router, solved": ("0", "0", "1", "1"),
        "router": ("1", "0", "0", "1"),
        "the better of both": ("1", "0", "0", "1"),
    }


def test_the_grids_hold_what_they_promise():
    scopes = full, default, pixels = Scope(size="full"), Scope(), Scope(size="pixels")
    assert set(Scope(quick=True).places) < set(default.places) < set(full.places)
    circuits = {p[:2] for p in default.places if p[1] != "one linear model on pixels"}
    assert len(circuits) == 18
    assert set(Scope(only="moons, rotation / trig").places) == {
        ("moons, rotation", "trig", way) for way in WAYS
    }
    for scope in scopes:
        assert len(scope.places) == len(set(scope.places))
        jobs = [cell(place, 0, candidates(place)[0], scope) for place in scope.places]
        assert len({job.key for job in jobs}) == len(jobs)
        for job in jobs:
            Config.from_flat(job.arguments["settings"])
    # a larger grid goes on from a smaller one
    own = cell(default.places[0], 0, candidates(default.places[0])[0], default)
    assert own.key == cell(default.places[0], 0, candidates(default.places[0])[0], full).key
    assert all(len(candidates(place)) == 4 for place in pixels.places)


def test_the_best_candidate_on_the_other_seeds_is_chosen():
    place = "moons, rotation", "linear", "router"
    names = dict(zip(("task", "router", "sharing"), place, strict=True))
    tried = candidates(place)
    scores = zip(tried, ([0.7, 0.9], [0.85, 0.8], [0.6, 0.6], [0.2, 0.99]), strict=True)
    trials = pd.DataFrame(
        {**names, "candidate": name(candidate), "seed": seed, "accuracy": accuracy}
        for candidate, values in scores
        for seed, accuracy in zip(CHOICE_SEEDS, values, strict=True)
    )
    assert choose(trials, [place]) == {place: tried[1]}


def test_every_place_and_seed_is_run_once_and_a_stopped_study_goes_on(tmp_path, monkeypatch):
    ways = sorted(["router, solved", "nothing", "nothing, solved"])
    places = [("moons, label skew", "linear", sharing) for sharing in ways]
    monkeypatch.setattr(Scope, "places", places)
    settings = Settings(Scope(seeds=2, epochs=5, first_seed=3))

    def run():
        shown = report(settings, Runner(Store(tmp_path, "compare-sharing", settings), 1))
        return [table.rows for table in shown.tables]

    first = run()
    records = tmp_path / "records.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    assert len(lines) == len(places) * (4 * len(CHOICE_SEEDS) + 2)
    frame = pd.read_json(records, lines=True, precise_float=True)
    reported = frame[frame["use"] == "report"]
    assert sorted(zip(reported["sharing"], reported["seed"], strict=True)) == [
        (sharing, seed) for sharing in ways for seed in (3, 4)
    ]
    chosen = reported.groupby("sharing")["candidate"].first()
    trials = frame[frame["use"] == "choice"]
    scores = trials.groupby(["sharing", "candidate"])["accuracy"].mean()
    for sharing, own in scores.groupby("sharing"):
        assert own.loc[(sharing, chosen.loc[sharing])] == own.max()

    # stopped while a line was written: only what is missing is run, with the same numbers
    records.write_text("".join(lines[:-2]) + lines[-2][:40])
    done = (tmp_path / "cells.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cells.jsonl").write_text("".join(done[:-2]))
    assert run() == first
    again = pd.read_json(records, lines=True, precise_float=True)
    pd.testing.assert_frame_equal(again, frame)


def test_missing_images_are_found_before_anything_runs(tmp_path, capsys):
    arguments = ["--data-dir", str(tmp_path), "--output-dir", str(tmp_path)]
    assert main(STUDY, arguments) == 2
    assert f"error: the files of mnist are not in {tmp_path}/mnist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_seed_has_no_interval(capsys):
    assert main(STUDY, ["--seeds", "1"]) == 2
    assert capsys.readouterr().err == "error: seeds = 1: must be at least 2\n"
