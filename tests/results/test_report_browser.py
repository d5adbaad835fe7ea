"""A page in a real browser: Chromium, driven by Playwright; skipped where there is none."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmoe_fed.results.report import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
MANY = 450


@pytest.fixture(scope="module")
def address(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run that has the scores of many clients."""
    copy = Path(shutil.copytree(run_path, tmp_path_factory.mktemp("browser") / "copy"))
    columns = json.loads((copy / "clients.json").read_text())
    columns = {key: [own[i % len(own)] for i in range(MANY)] for key, own in columns.items()}
    columns["client"] = [*range(MANY)]
    columns["accuracy"] = [(37 * i % MANY) / MANY for i in range(MANY)]
    (copy / "clients.json").write_text(json.dumps(columns))
    about, summary, unseen = (
        json.loads((copy / f"{name}.json").read_text()) for name in ("config", "summary", "unseen")
    )
    about["settings"]["num-clients"] = summary["clients"] = MANY
    unseen["client"] = [MANY + i for i in range(len(unseen["client"]))]
    for name, content in (("config", about), ("summary", summary), ("unseen", unseen)):
        (copy / f"{name}.json").write_text(json.dumps(content))
    return report([copy]).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page on a phone in dark mode; nothing is said on the console, nothing is asked for."""
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {address}
    page.close()


def column(page: Any, number: int) -> list[float]:
    rows = "[...document.querySelectorAll('#run-1-clients tbody tr')]"
    return page.evaluate(f"{rows}.map((row) => parseFloat(row.cells[{number}].textContent))")


def test_what_is_seen(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"
    seen = page.evaluate("[...document.images].map((one) => [one.naturalWidth > 0, one.alt])")
    assert len(seen) == 7
    assert all(whole and text for whole, text in seen)
    rows = page.locator("#run-1-clients tbody tr")
    assert sum(row.is_visible() for row in (rows.nth(199), rows.nth(200))) == 1
    page.get_by_label(f"all {MANY} rows").check()
    assert rows.nth(MANY - 1).is_visible()


def test_tables_are_sorted_by_mouse_and_keyboard(page: Any) -> None:
    head = page.locator("#run-1-clients thead th")
    accuracy = sorted(column(page, 1))
    button = head.nth(1).locator("button")
    button.click()
    assert head.nth(1).get_attribute("aria-sort") == "ascending"
    assert column(page, 1) == accuracy
    button.focus()
    page.keyboard.press("Enter")
    assert head.nth(1).get_attribute("aria-sort") == "descending"
    assert column(page, 1) == accuracy[::-1]
    head.nth(0).locator("button").click()
    assert column(page, 0) == [*range(MANY)]
    assert head.nth(1).get_attribute("aria-sort") is None


def test_clients_are_told_by_hovering_and_by_keys(page: Any) -> None:
    rank, note = page.locator(".rank"), page.locator(".note")
    order = column(page, 0)
    rank.focus()
    for key, at in (("End", MANY - 1), ("ArrowLeft", MANY - 2), ("Home", 0), ("PageUp", 45)):
        page.keyboard.press(key)
        assert rank.get_attribute("aria-valuetext").startswith(f"client {order[at]:.0f} · ")
        assert rank.get_attribute("aria-valuenow") == str(at + 1)
        assert note.text_content() == rank.get_attribute("aria-valuetext")
    page.keyboard.press("Enter")
    marked = page.locator("#run-1-clients .marked th")
    assert marked.text_content() == f"{order[45]:.0f}"
    assert marked.is_visible()
    rank.evaluate("(one) => { one.scrollLeft = 0; one.scrollIntoView() }")
    box = page.locator(".rank img").bounding_box()
    left, right = (float(rank.get_attribute(f"data-{side}")) for side in ("left", "right"))
    x = left + (right - left) * 100.5 / MANY
    page.mouse.move(box["x"] + box["width"] * x / 100, box["y"] + 20)
    assert note.text_content().startswith(f"client {order[100]:.0f} · ")
