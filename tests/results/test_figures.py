import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from qmoe_fed.config import Config
from qmoe_fed.data.preprocessing import principal_components
from qmoe_fed.errors import UserError
from qmoe_fed.results import Run, figures
from qmoe_fed.results.figures import draw_all, pictures
from qmoe_fed.results.figures.charts import count_labels, evenly_spaced, privacy_spent, serpentine
from qmoe_fed.results.figures.plane import Plane
from qmoe_fed.results.figures.regions import RESOLUTION, draw_regions, lattice, paint
from qmoe_fed.results.figures.style import class_colors, expert_colors

NAMES = {
    "decision-regions",
    "expert-load",
    "expert-regions",
    "label-distribution",
    "learning-curves",
    "unseen-clients",
}


def test_all_pictures_are_drawn_from_the_directory_alone(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(shutil.copytree(run_path, tmp_path / "moved"))
    monkeypatch.chdir(tmp_path)
    files = draw_all("moved")
    assert {file.stem for file in files} == NAMES
    assert sorted(files) == sorted(Path("moved/figures").iterdir())
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width in (700, 1432)  # a column or a page at 200 dots per inch
            drawn = np.asarray(image.convert("L")) < 128
            assert drawn.mean() > 0.002
    assert {path.name for path in moved.iterdir()} == {
        *(path.name for path in run_path.iterdir()),
        "figures",
    }


@pytest.fixture
def two_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only two pictures be drawn, to save time."""
    few = ("decision-regions", "unseen-clients")
    monkeypatch.setattr(figures, "pictures", lambda run: {k: pictures(run)[k] for k in few})


@pytest.mark.usefixtures("two_pictures")
def test_a_picture_is_the_same_when_drawn_again(own_copy: Path) -> None:
    first = [file.read_bytes() for file in draw_all(own_copy)]
    assert [file.read_bytes() for file in draw_all(own_copy)] == first


@pytest.mark.usefixtures("two_pictures")
def test_experts_on_other_machines_leave_one_picture_out(
    own_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(own_copy / "experts")
    assert [file.name for file in draw_all(own_copy)] == ["unseen-clients.png"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("decision-regions is left out: the experts are not in")


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({"dataset": "digits", "qubits": 4}, {"decision-regions", "expert-regions"}),
        ({"dataset": "digits", "qubits": 2}, set()),
        ({"share": "experts", "expert-fit": "gradient"}, {"expert-regions"}),
        ({"share": "none"}, {"expert-regions"}),
        ({"share": "all", "expert-fit": "gradient"}, set()),
        ({"share": "prior"}, set()),
    ],
)
def test_which_pictures_a_run_can_have(
    finished: Run, settings: dict[str, object], absent: set[str]
) -> None:
    same = {"num-clients": 7, "num-unseen-clients": 5, "unseen-samples": "4,8"}
    run = replace(finished, config=Config.from_flat({**same, **settings}))
    assert set(pictures(run)) == NAMES - absent


def test_what_was_spent_is_drawn_if_an_epsilon_is_stated(finished: Run) -> None:
    spent = [{**row, "train": {"epsilon": 2.0 * row["round"]}} for row in finished.records[1:]]
    config = replace(finished.config, privacy=replace(finished.config.privacy, max_epsilon=8.0))
    run = replace(finished, records=[finished.records[0], *spent], config=config)
    assert set(pictures(run)) == {*NAMES, "privacy-spent"}
    (ax,) = privacy_spent(run).axes
    curve, budget = ax.lines
    assert curve.get_ydata().tolist() == [2, 4, 6]
    assert budget.get_ydata() == [8, 8]


def test_a_run_without_unseen_clients_that_keeps_routers_private(
    federate: Callable[..., Path],
) -> None:
    path = federate(share="none", num_clients=2, num_unseen_clients=0, num_server_rounds=1)
    assert {file.stem for file in draw_all(path)} == NAMES - {"expert-regions", "unseen-clients"}


def test_a_directory_that_cannot_be_written_to(own_copy: Path) -> None:
    (own_copy / "figures").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*figures"):
        draw_all(own_copy)


def test_the_lattice_covers_the_plane_evenly() -> None:
    points = lattice((-1, 3, 10, 11))
    assert points.shape == (RESOLUTION**2, 2)
    assert points.mean(0, dtype=float) == pytest.approx([1, 10.5])
    assert points[0] == pytest.approx([-1 + 2 / RESOLUTION, 10 + 0.5 / RESOLUTION])
    assert points[1] - points[0] == pytest.approx([4 / RESOLUTION, 0], abs=1e-5)


def test_borders_run_where_the_decision_changes() -> None:
    ax = Figure().subplots()
    draw_regions(
        ax,
        lambda points: np.stack([points[:, 0] > 0.3, points[:, 0] <= 0.3], 1) * 1.0,
        (0, 1, 0, 1),
    )
    (border,) = ax.collections
    (path,) = border.get_paths()
    assert path.vertices[:, 0] == pytest.approx(0.3, abs=1 / RESOLUTION)


def test_every_border_between_three_classes_is_drawn() -> None:
    def predict(points: np.ndarray) -> np.ndarray:
        third = np.minimum((3 * points[:, 0]).astype(int), 2)
        return np.eye(3)[third]

    ax = Figure().subplots()
    draw_regions(ax, predict, (0, 1, 0, 1))
    x = np.concatenate([p.vertices[:, 0] for c in ax.collections for p in c.get_paths()])
    assert set(np.round(3 * x).astype(int)) == {1, 2}


def test_colours_mix_by_weight() -> None:
    ax = Figure().subplots()
    weights = np.tile(np.float32([0.25, 0.75]), (RESOLUTION**2, 1))
    paint(ax, weights, np.array([[1.0, 0, 0], [0, 1.0, 0]]), (0, 1, 0, 1))
    (image,) = ax.get_images()
    assert image.get_array()[0, 0].tolist() == pytest.approx([0.25, 0.75, 0])


@pytest.mark.parametrize("colors", [class_colors, expert_colors])
def test_colours_differ(colors: object) -> None:
    for count in (2, 8, 30):
        rows = colors(count)  # type: ignore[operator]
        assert rows.shape == (count, 3)
        assert len(np.unique(rows.round(3), axis=0)) == count


def test_points_of_the_plane_lead_back_to_their_angles(finished: Run) -> None:
    angles = np.random.default_rng(0).uniform(0, np.pi, (20, 2)).astype(np.float32)
    images = np.random.default_rng(1).normal(size=(40, 9))
    for projection in (finished.projection, principal_components(images, 2)):
        plane = Plane(projection, ("a", "b"))
        inputs = plane.inputs(plane.points(angles))
        assert projection.angles(inputs) == pytest.approx(angles, abs=1e-4)


def test_the_plane_is_not_stretched(finished: Run) -> None:
    plane = Plane.of(finished)
    left, right, bottom, top = plane.bounds
    assert plane.height(right - left) == pytest.approx(top - bottom)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_clients_with_two_shares_are_ordered_by_the_first(first: list[float]) -> None:
    shares = np.array([first, [1 - share for share in first]]).T
    ordered = shares[serpentine(shares)]
    assert (np.diff(ordered[:, 0]) <= 1e-9).all()


def test_clients_are_grouped_by_their_largest_share() -> None:
    shares = np.array([[0.1, 0.9, 0], [0.2, 0.2, 0.6], [0.6, 0.4, 0], [0.2, 0.8, 0], [1, 0, 0]])
    assert serpentine(shares).tolist() == [4, 2, 3, 0, 1]


@given(st.integers(1, 300), st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_evenly_spaced_numbers(total: int, most: int) -> None:
    numbers = evenly_spaced(total, most)
    assert len(numbers) == len(set(numbers)) == min(total, most)
    assert numbers[0] == 0
    assert numbers[-1] == total - 1 or most == 1
    gaps = np.diff(numbers)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_labels_are_counted_without_padding(finished: Run) -> None:
    samples = finished.data([2, 5]).train.first(10)
    expected = [[(row[:10] == c).sum() for c in (0, 1)] for row in samples.y.numpy()]
    assert count_labels(samples, 2).tolist() == expected
    short = replace(samples, counts=samples.counts * 0 + 3)
    assert count_labels(short, 2).sum(1).tolist() == [3, 3]
