from pathlib import Path

import pytest
import tomli_w
from flwr.common.config import parse_config_args
from hypothesis import given
from hypothesis import strategies as st
from tiny_app import write_tiny_app

from qmoe_fed.errors import UserError
from qmoe_fed.launch.app import FlowerApp, parse_run_config, settle

KEYS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
TEXT = st.text("abz09 .:/=,{}#é", max_size=8).map(lambda text: f"'{text}'")
NUMBERS = st.one_of(st.integers(-99, 99), st.floats(-9, 9), st.booleans()).map(
    lambda value: str(value).lower()
)


@given(st.lists(st.lists(st.tuples(KEYS, TEXT | NUMBERS), max_size=4, unique_by=lambda p: p[0])))
def test_pairs_mean_what_they_mean_to_flower(groups: list[list[tuple[str, str]]]) -> None:
    arguments = [" ".join(f"{key}={value}" for key, value in group) for group in groups]
    assert parse_run_config(arguments) == parse_config_args(arguments)


def test_files_and_pairs_combine_and_the_last_wins(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("seed = 3\nlearning-rate = 0.5\n")
    arguments = ["seed=1 num-clients=7", str(file), 'learning-rate=1e-3 router="linear"']
    expected = {"seed": 3, "num-clients": 7, "learning-rate": 1e-3, "router": "linear"}
    assert parse_run_config(arguments) == expected


@pytest.mark.parametrize("argument", ["seed", "seed 3", "seed=1 and more", "= 3", "seed = 3"])
def test_what_is_no_pair_is_refused(argument: str) -> None:
    with pytest.raises(UserError, match="expected key=value or a"):
        parse_run_config([argument])


def test_strings_need_quotes() -> None:
    with pytest.raises(UserError, match=r"strings need quotes .* \"router='text'\""):
        parse_run_config(["router=linear"])


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = FlowerApp.read(write_tiny_app(tmp_path / "tiny"))
    monkeypatch.chdir(tmp_path)
    settings = settle(app, {"seed": 4, "data-dir": "data", "output-dir": "unused"}, "here")
    assert settings.overrides == {
        "seed": 4,
        "data-dir": str(tmp_path / "data"),
        "output-dir": str(tmp_path / "here"),
    }
    assert settings.config.federation.seed == 4
    assert settings.config.results.output_dir == str(settings.output_dir)
    assert settings.output_dir.is_dir()
    assert settle(app, {"output-dir": "there"}, None).output_dir == tmp_path / "there"


def test_default_directories_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = FlowerApp.read(write_tiny_app(tmp_path / "tiny"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "20260102-030405")
    names = [settle(app, {}, None).output_dir.relative_to(tmp_path) for _ in range(3)]
    stem = "runs/tiny-fed-20260102-030405"
    assert [str(name) for name in names] == [stem, f"{stem}-2", f"{stem}-3"]


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    app = FlowerApp.read(write_tiny_app(tmp_path / "tiny"))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="already holds a run"):
        settle(app, {}, str(tmp_path / "old"))


def test_only_listed_settings_can_be_replaced(tmp_path: Path) -> None:
    path = write_tiny_app(tmp_path / "tiny")
    app = FlowerApp.read(path)
    with pytest.raises(UserError, match=r"must list batch-size, layers in \[tool.flwr.app.config"):
        settle(app, {"layers": 2, "batch-size": 4}, None)
    content = {**app.settings}
    del content["output-dir"]
    with pytest.raises(UserError, match="must list output-dir"):
        settle(FlowerApp(path, "tiny", content), {}, None)


@pytest.mark.parametrize(
    "missing", ["project.name", "tool.flwr.app.publisher", "tool.flwr.app.components.clientapp"]
)
def test_incomplete_apps_are_refused(missing: str, tmp_path: Path) -> None:
    content: dict[str, dict[str, object]] = {
        "project": {"name": "x", "version": "1"},
        "tool": {"flwr": {"app": {"publisher": "p", "components": {"serverapp": "a:b"}}}},
    }
    content["tool"]["flwr"]["app"]["components"]["clientapp"] = "a:c"  # type: ignore[index]
    (tmp_path / "pyproject.toml").write_text(tomli_w.dumps(content))
    assert FlowerApp.read(tmp_path).settings == {}
    *tables, key = missing.split(".")
    table = content
    for name in tables:
        table = table[name]  # type: ignore[assignment]
    del table[key]
    (tmp_path / "pyproject.toml").write_text(tomli_w.dumps(content))
    with pytest.raises(UserError, match=f"lacks {missing}"):
        FlowerApp.read(tmp_path)
