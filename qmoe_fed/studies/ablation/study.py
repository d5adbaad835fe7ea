"""The ablation from its settings to its results."""

import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from textwrap import fill

from qmoe_fed.data.download import cache_dir
from qmoe_fed.errors import UserError
from qmoe_fed.results.progress import say
from qmoe_fed.results.run_directory import PACKAGES, RunDirectory, write_whole
from qmoe_fed.results.tables import WIDTH
from qmoe_fed.studies.ablation import comparison, comparison_sweeps
from qmoe_fed.studies.ablation.answer import QUESTION, answer
from qmoe_fed.studies.ablation.plan import measure
from qmoe_fed.studies.ablation.settings import SIZES, Settings
from qmoe_fed.studies.ablation.writing import choose_tables, curves, markdown, numbers
from qmoe_fed.studies.datasets import IMAGES, load


def run(settings: Settings) -> None:
    """Run the ablation: print its tables, and write them, ``results.json`` and pictures.

    Raises:
        UserError: The output directory already holds results or cannot be made, or the data
            directory is none.
    """
    images, left_out = _images(settings)
    folder = _new_directory(settings.folder)
    try:
        _run(settings, folder, images, left_out)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _run(settings: Settings, folder: Path, images: list[str], left_out: list[str]) -> None:
    began = time.perf_counter()
    for reason in left_out:
        say(f"left out: {reason}")
    results = measure(settings, images)
    lines = [
        *comparison.moons_lines(results.models),
        *comparison_sweeps.sweep_lines(results.sweeps),
    ]
    paragraphs = answer(results)

    printed, written = choose_tables(results, lines)
    for table in printed:
        table.print()
    say(f"\n{QUESTION}")
    for paragraph in paragraphs:
        say(f"\n{fill(paragraph, WIDTH)}")

    from qmoe_fed.studies.ablation.figures import draw_all  # matplotlib takes a second to import

    (folder / "figures").mkdir(exist_ok=True)
    draw_all(results, folder / "figures")
    text = markdown(settings, written, paragraphs, left_out)
    write_whole(folder / "report.md", text.encode())
    write_whole(folder / "curves.json", curves(results))
    seconds = time.perf_counter() - began
    content = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "settings": settings.to_flat(),
        "left_out": left_out,
        **numbers(results),
        "paper": [asdict(line) for line in lines],
        "answer": paragraphs,
        "seconds": seconds,
    }
    RunDirectory(folder).write_json("results.json", content)  # last: where it stands, all is there
    if settings.scope.quick:
        say("\nA first look: so few seeds and epochs carry no verdict.")
    say(f"\n{seconds:.0f} s; results: {folder}")


def _new_directory(folder: Path) -> Path:
    if (folder / "results.json").exists() or (folder / "config.json").exists():
        raise UserError(f"output-dir {folder} already holds results; name another directory")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make output-dir {folder}: {error.strerror}") from error
    return folder


def _images(settings: Settings) -> tuple[list[str], list[str]]:
    """Return the image tasks that can be run, and why the others cannot."""
    data_dir = settings.scope.data_dir
    hint = (
        "To get them, run `qmoe-fed run simulations/mnist_fed` and `qmoe-fed run "
        f"simulations/fashion_fed`, which download them, and add --data-dir {cache_dir()}; or add "
        "--data-dir DIR for a DIR with the IDX files in DIR/mnist and DIR/fashion-mnist"
    )
    if not data_dir:
        return [], [f"MNIST and Fashion-MNIST, for there is no --data-dir. {hint}"]
    if not Path(data_dir).expanduser().is_dir():
        raise UserError(f"data-dir = {data_dir!r}: there is no such directory")
    there, left_out = [], []
    seeds = min(settings.scope.seeds, SIZES[settings.scope.quick].image_seeds)
    for name in IMAGES:
        try:
            load(settings.source(name, seeds))
        except UserError as error:
            left_out.append(f"{error}. {hint}")
        else:
            there.append(name)
    return there, left_out
