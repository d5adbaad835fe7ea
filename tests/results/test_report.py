import json
import re
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from qmoe_fed.cli import main
from qmoe_fed.errors import UserError
from qmoe_fed.results import Run
from qmoe_fed.results import report as module
from qmoe_fed.results.report import leave, report, tables
from qmoe_fed.results.report.pictures import TITLES
from qmoe_fed.results.summary import differing, figures_of

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Reads a page: its tables as rows of texts by id, its pictures, ids and open tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.titles: list[str] = []
        self.script, self.policy = "", ""
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        own = dict(attributes)
        if own.get("id"):
            self.ids.append(str(own["id"]))
        if tag == "table":
            self.tables[str(own["id"])] = []
        if tag == "tr":
            self.tables[self.ids[-1]].append([])
        if tag in ("td", "th"):
            self.tables[self.ids[-1]][-1].append("")
        if tag in ("h2", "h3"):
            self.titles.append("")
        if tag == "img":
            self.images.append(own)
        if own.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(own["content"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[self.ids[-1]][-1][-1] += data.strip()
        if {"h2", "h3"} & set(self.open):
            self.titles[-1] += data
        if self.open[-1:] == ["script"]:
            self.script += data


@pytest.fixture(scope="session")
def page(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    copy = tmp_path_factory.mktemp("page") / "copy"
    shutil.copytree(run_path, copy)
    assert leave(copy) == copy / "report.html"
    assert len(list((copy / "figures").glob("*.png"))) == 6
    return Page(copy / "report.html")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "draw", lambda run: {})


def test_a_page_is_one_whole_file_that_needs_nothing_else(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"(src|href)=\"(?!data:|#)", page.text)
    digest = b64encode(sha256(page.script.encode()).digest()).decode()
    assert page.policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    assert len(page.text) < 1_000_000


def test_every_picture_is_svg_and_has_a_text(page: Page) -> None:
    assert len(page.images) == 7
    assert all(image["alt"] for image in page.images)
    for image in page.images:
        svg = b64decode(str(image["src"]).removeprefix("data:image/svg+xml;base64,"))
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_what_the_tables_say(page: Page, finished: Run) -> None:
    facts = dict(page.tables["table-1"][1:])
    assert facts["seed"] == "1"
    assert facts["expert-fit"] == "gradient"
    assert "learning-rate" not in facts  # as by default
    expected = {**figures_of(finished.summary), "hosts without saved experts": "0"}
    assert dict(page.tables["table-2"][1:]) == expected
    header, *rows = page.tables["run-1-clients"]
    assert header[:3] == ["client", "accuracy", "loss"]
    clients = finished.clients.set_index("client")
    assert sorted(int(row[0]) for row in rows) == list(range(7))
    shown = [float(row[1].rstrip("%")) for row in rows]
    assert shown == pytest.approx(100 * np.sort(clients["accuracy"]), abs=0.05)
    for row in rows:
        assert float(row[2]) == pytest.approx(clients.loc[int(row[0]), "loss"], rel=1e-3)
    assert "0 clients left out of rounds" in page.titles
    assert page.tables["run-1-2"] == [["", "value"], ["mechanisms", "none"]]
    assert [row[0] for row in page.tables["run-1-4"]] == ["round", "0", "1", "2", "3"]


def change(path: Path, name: str, edit: Callable[[dict], None]) -> None:
    """Edit a JSON file of a run, or the last line of its rounds."""
    *lines, last = (path / name).read_text().splitlines() if name.endswith("l") else [""]
    content = json.loads(last or (path / name).read_text())
    edit(content)
    (path / name).write_text("\n".join([*lines, json.dumps(content), ""]))


@pytest.mark.usefixtures("no_pictures")
def test_who_was_left_out_and_that_nothing_of_a_file_becomes_markup(own_copy: Path) -> None:
    evil = "<script>alert(1)</script>&\"'"
    hostile = own_copy.rename(own_copy.with_name("a<b>$x$_&"))
    out = [{"client": 3, "reason": evil}, {"client": 5, "reason": "late"}]
    change(hostile, "metrics.jsonl", lambda one: one.update(rejections=out))
    change(hostile, "config.json", lambda one: one.update(app=evil))
    change(hostile, "summary.json", lambda one: one.update(status=evil))
    page = Page(report([hostile]))
    assert page.tables["run-1-3"][1:] == [["3", "1", "3", "3", evil], ["5", "1", "3", "3", "late"]]
    assert dict(page.tables["table-1"][1:])["app"] == evil
    assert "2 clients left out of rounds" in page.titles
    assert page.titles[2] == "a<b>$x$_&"
    assert page.text.count("<script>") == 1


@pytest.mark.usefixtures("no_pictures")
def test_runs_side_by_side(
    run_path: Path, own_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {"ridge": 9.0, "expert-fit": "solve", "figures": True}
    change(own_copy, "config.json", lambda one: one["settings"].update(other))
    (tmp_path / "x").mkdir()
    twin = own_copy.rename(tmp_path / "x" / "$r$")
    file = tmp_path / "both.html"
    arguments = ["report", str(twin), str(run_path), str(run_path), "--output", str(file)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{file}\n"
    page = Page(file)
    names = ["$r$", "results #2", "results #3"]
    assert page.tables["table-3"] == [
        ["", *names],
        ["expert-fit", "solve", "gradient", "gradient"],
        ["ridge", "9", "1", "1"],
    ]
    assert [image["alt"] for image in page.images[:1]] == [
        "Test accuracy and loss by round, mean over clients, by run"
    ]
    assert page.titles.count("7 clients") == 3


@pytest.mark.usefixtures("no_pictures")
def test_a_page_replaces_a_page_and_no_other_file(
    own_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = report([own_copy]).read_bytes()
    assert report([own_copy]).read_bytes() == first
    mine = tmp_path / "thesis.html"
    mine.write_text("mine")
    for output in (mine, tmp_path):
        assert main(["report", str(own_copy), "--output", str(output)]) == 2
        error = capsys.readouterr().err
        assert error == f"error: {output} is there and no report: name another file with --output\n"
    assert mine.read_text() == "mine"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["clients", "unseen", "routing_entropy"])
def test_a_summary_in_which_something_is_missing(own_copy: Path, name: str) -> None:
    change(own_copy, "summary.json", lambda one: one.pop(name))
    with pytest.raises(UserError, match=rf"summary.json is damaged: it lacks '{name}'; restore"):
        report([own_copy])


def test_the_page_of_a_run_that_failed(own_copy: Path) -> None:
    for name in ("clients.json", "unseen.json", "projection.safetensors"):
        (own_copy / name).unlink()
    failed = {"status": "failed", "error": "RunFailed", "reason": "no\nhosts", "rounds": 3}
    (own_copy / "summary.json").write_text(json.dumps(failed))
    page = Page(report([own_copy]))
    assert page.tables["table-2"][1:] == [
        ["status", "failed: RunFailed: no hosts"],
        ["rounds", "3 of 3"],
    ]
    assert [image["alt"] for image in page.images] == [TITLES["learning-curves"][1]]
    assert "0 clients left out of rounds" in page.titles
    with pytest.raises(UserError, match="failed"):
        report([own_copy, own_copy])
    (own_copy / "metrics.jsonl").unlink()
    assert not Page(report([own_copy])).images
    (own_copy / "config.json").write_text("{}")
    with pytest.raises(UserError, match="it lacks 'app'"):
        report([own_copy])


@pytest.mark.usefixtures("no_pictures")
def test_of_very_many_clients_evenly_spaced_ones(
    own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_ROWS", 3)
    page = Page(report([own_copy]))
    assert "3 clients of 7" in page.titles
    shown = [float(row[1].rstrip("%")) for row in page.tables["run-1-clients"][1:]]
    assert shown == sorted(shown)


@pytest.mark.usefixtures("no_pictures")
def test_clients_whose_scores_stay_with_their_hosts(own_copy: Path) -> None:
    (own_copy / "clients.json").unlink()
    page = Page(report([own_copy]))
    assert "run-1-clients" not in page.ids
    assert "run-1-title" in page.ids


def test_settings_that_say_where_are_no_difference() -> None:
    first = {"seed": 0, "output-dir": "a", "log": "none", "router": "mlp"}
    assert differing([first, {**first, "output-dir": "b", "log": "tensorboard"}]) == []
    assert differing([first, {**first, "seed": 1}, first]) == ["seed"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1 + 0.2, "0.3"), (2.0, "2"), (12345, "12,345"), (float("nan"), "–"), (None, "–")],
)
def test_how_a_value_is_shown(value: object, text: str) -> None:
    assert tables._shown(value) == text
