import json
import math
from pathlib import Path

import pytest
import torch

from qmoe_fed.results import Run
from qmoe_fed.results.progress import Progress
from qmoe_fed.results.summary import (
    bits,
    headline_size,
    percent,
    print_summary,
    spread,
    unseen_labels,
)

SUMMARY = {
    "status": "stopped",
    "reason": "the next round would exceed max-epsilon = 8",
    "rounds": 12,
    "rounds_counted": 11,
    "clients": 10000,
    "clients_scored": 10_000,
    "unseen_clients": 2,
    "share": "router",
    "seed": 3,
    "router_parameters": 1234,
    "bytes_up_per_client_round": 4936.0,
    "accuracy_mean": 0.98765,
    "accuracy_std": 0.0123,
    "accuracy_worst10": None,
    "unseen": {
        kind: {"4": {"mean": accuracy}, "16": {"mean": 0.9}}
        for kind, accuracy in (("shared", 0.8), ("scratch", 0.7), ("random", 0.6))
    },
    "routing_entropy": 1.234,
    "routing_client_information": 0.05,
    "routing_class_information": None,
    "routing_dead_experts": 0,
    "epsilon": 7.891,
    "noise_source": "seed",
    "delta": 1e-5,
    "wall_seconds": 12.34,
}


def test_the_worst_clients_by_accuracy_are_the_lowest() -> None:
    values = torch.arange(20.0)
    described = spread(values)
    assert described["mean"] == 9.5
    assert described["std"] == pytest.approx((399 / 12) ** 0.5)
    assert described["worst10"] == 0.5


def test_the_worst_clients_by_loss_are_the_highest() -> None:
    assert spread(torch.arange(20.0), higher_is_better=False)["worst10"] == 18.5


def test_of_a_mean_alone_nothing_else_is_said() -> None:
    described = spread(torch.tensor(0.75))
    assert described["mean"] == 0.75
    assert math.isnan(described["std"])
    assert math.isnan(described["worst10"])
    assert [percent(math.nan), bits(math.nan)] == ["–", "–"]


@pytest.mark.parametrize(("sizes", "size"), [([4, 8, 16], 8), ([16, 32], 16), ([1, 2], 2)])
def test_the_size_nearest_to_eight_is_quoted(sizes: list[int], size: int) -> None:
    assert headline_size(sizes) == size


def test_what_unseen_clients_are_given_in_words() -> None:
    assert unseen_labels("router")["shared"] == "shared router, own experts"
    assert unseen_labels("experts")["random"] == "random experts, own router"
    assert unseen_labels("all")["scratch"] == "own router and experts"
    assert unseen_labels("none") == {"scratch": "own router, own experts"}


def test_shares_as_percentages() -> None:
    assert [percent(0.98765), percent(None)] == ["98.8%", "–"]


def test_the_printed_summary(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(SUMMARY)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "status stopped: the next round would exceed max-epsilon = 8" in lines
    assert "clients 10,000" in lines
    assert "rounds 12, 11 of them counted" in lines
    assert "bytes up per client and round 4,936" in lines
    assert "accuracy, mean of the worst 10% of clients –" in lines
    assert "routing entropy of a sample 1.23 bits" in lines
    assert "what the expert tells about the class –" in lines
    assert "ε at δ = 1e-05 7.89" in lines
    assert "noise comes from the seed, for experiments only" in lines
    assert "labelled samples 4 16" in lines
    assert "own router, own experts 70.0% 90.0%" in lines


def test_long_texts_stay_in_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary({**SUMMARY, "reason": "word " * 40, "unseen": {}})
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_the_summary_of_a_run(finished: Run, run_path: Path) -> None:
    summary = finished.summary
    expected = {"status": "completed", "rounds": 3, "clients": 7, "seed": 1}
    assert {key: summary[key] for key in expected} == expected
    assert summary["router_parameters"] == 6
    assert summary["bytes_up_per_client_round"] == 24
    assert 0 <= summary["accuracy_worst10"] <= summary["accuracy_mean"] <= 1
    assert 0 <= summary["accuracy_std"] <= 0.5
    assert 0 < summary["wall_seconds"] < 60
    for kind in ("shared", "scratch", "random"):
        assert 0 <= summary[f"unseen_accuracy_{kind}"] <= 1
        assert summary["unseen"][kind]["8"].keys() == {"mean", "std", "worst10"}
    assert json.loads((run_path / "summary.json").read_text()) == summary


def test_progress_shows_first_and_last_and_little_between(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(100)
    scores = {
        "accuracy": {"mean": 0.5, "std": 0.1, "worst10": 0.25},
        "loss": {"mean": float("nan")},
    }
    for server_round in range(101):
        progress.show(server_round, scores)
    first, *between, last = capsys.readouterr().out.splitlines()
    assert first.startswith("round   0/100   loss nan   accuracy 0.500 ± 0.100   worst 10% 0.250")
    assert last.startswith("round 100/100")
    assert len(between) < 3
