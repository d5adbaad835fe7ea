"""A federation in a few lines of Python, its results as frames and pictures.

::

    import qmoe_fed as q

    run = q.run(dataset="moons", num_clients=50, router="quantum")
    run.clients  # a frame
    run.plot()  # a picture
    q.compare([run, q.run(dataset="moons", num_clients=50, router="linear")])
"""

import shutil
import weakref
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from qmoe_fed import results
from qmoe_fed.config import Config
from qmoe_fed.config.plugins import as_setting
from qmoe_fed.config.settings import expanded, kebab
from qmoe_fed.data import Table
from qmoe_fed.errors import UserError, unknown
from qmoe_fed.federated.flower import client_app
from qmoe_fed.federated.flower.grid import LocalGrid, task_identity
from qmoe_fed.federated.flower.server import run_federation
from qmoe_fed.federated.model import threads_as_before
from qmoe_fed.results.checkpoint import check_resumable
from qmoe_fed.results.figures import charts, pictures
from qmoe_fed.results.place import make_directory
from qmoe_fed.results.summary import differing, figures_of, unseen_of, unseen_title

FIGURES = (
    *("accuracy_mean", "accuracy_std", "accuracy_worst10"),
    *("unseen_accuracy_shared", "unseen_accuracy_scratch", "unseen_accuracy_random"),
    *("router_parameters", "bytes_up_per_client_round", "epsilon", "wall_seconds"),
)
"""Of each run's summary, those that runs are compared by."""


@dataclass(frozen=True, eq=False, repr=False)
class Run(results.Run):
    """A finished run: what was asked, what came out, the trained mixtures, pictures.

    Jupyter shows its summary as a table.

    Attributes:
        samples: The samples in memory that it was run on, if it was.
    """

    samples: Table | None = None

    def plot(self, name: str = "learning-curves") -> Figure:
        """Return a picture: one of ``pictures``; Jupyter shows it, ``savefig`` writes it.

        Raises:
            UserError: There is no such picture of this run, or what it shows is not here.
        """
        possible = pictures(self)
        if name not in possible:
            raise unknown("picture", name, possible)
        return possible[name](self)

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures that ``plot`` draws of this run."""
        return list(pictures(self))

    def __repr__(self) -> str:
        return f"<Run in {self.path}: {self.summary['status']}>"

    def _repr_html_(self) -> str:
        figures = pd.Series(figures_of(self.summary)).to_frame()
        parts = [figures.to_html(header=False)]
        if rows := unseen_of(self.summary):
            sizes = pd.Index(self.summary["unseen"]["scratch"], name="labelled samples")
            unseen = pd.DataFrame(list(rows.values()), list(rows), sizes)
            parts += [f"<p>{unseen_title(self.summary)}</p>", unseen.to_html()]
        return "\n".join(parts)


def load_run(path: str | Path) -> Run:
    """Open the directory of a finished run.

    Raises:
        UserError: It is not the directory of a run, or the run has not come to its end.
    """
    return Run.load(path)


def run(*, progress: bool = True, **settings: object) -> Run:
    """Run a federation in this process, to its end, and return its results.

    The numbers are those of ``qmoe-fed run`` with ``engine = "local"``. Without ``output_dir`` the
    results are in a temporary directory that is gone with what is returned, and there are no
    checkpoints. With it, ``run(output_dir=…, resume=True)`` goes on with a run that was stopped.

    Args:
        progress: Whether to show a progress bar.
        settings: Any settings, by their names with underscores: ``num_clients=50``. What is named
            by an import path may be given itself: ``router=MyRouter``, and so may samples:
            ``dataset=Table(x, y)``.

    Raises:
        UserError: The settings cannot work; nothing was run.
        RunFailed: Not one round of training counted.
    """
    flat = {kebab(name): as_setting(value) for name, value in settings.items()}
    samples = flat.get("dataset")
    if isinstance(samples, Table):
        flat["dataset"] = samples.name
    if flat.setdefault("engine", "local") != "local":
        raise UserError("engine: a run in this process has none; leave it out, or use qmoe-fed run")
    if flat.get("resume"):
        path = expanded("output-dir", str(flat.get("output-dir", ""))).absolute()
        flat = {**check_resumable(path)["settings"], **flat, "output-dir": str(path)}
    config, temporary = Config.from_flat(flat), ""
    if not (name := config.results.output_dir):
        temporary = name = mkdtemp(prefix="qmoe-fed-")
        flat |= {"figures": False, "checkpoint-every": 0}
    elif not config.results.resume:
        name = str(make_directory(name, Path.cwd()))
    try:
        _carry_out({**flat, "output-dir": name}, config.federation.num_server_rounds, progress)
        finished = replace(Run.load(name), samples=samples if isinstance(samples, Table) else None)
    except BaseException:
        if temporary:
            shutil.rmtree(temporary)
        raise
    if temporary:
        weakref.finalize(finished, shutil.rmtree, temporary, ignore_errors=True)
    return finished


@threads_as_before()
def _carry_out(settings: Mapping[str, Any], rounds: int, progress: bool) -> None:
    bar: AbstractContextManager[Any] = tqdm(total=rounds, unit="round", disable=not progress)
    with bar as shown, task_identity():

        def show(number: int, scores: Mapping[str, Mapping[str, Any]]) -> None:
            shown.update(number - shown.n)
            shown.set_postfix(accuracy=f"{scores['accuracy']['mean']:.3f}")

        run_federation(LocalGrid(client_app(), settings), settings, show)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several runs side by side; Jupyter shows the frame and the picture.

    Attributes:
        runs: The runs by their names.
    """

    runs: Mapping[str, results.Run]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each run: the settings in which they differ, then figures of their summaries.

        Figures that no run has are left out.
        """
        settings = _differing([*self.runs.values()])
        found = [{key: run.summary[key] for key in FIGURES} for run in self.runs.values()]
        figures = pd.DataFrame(found, dtype=np.float64).dropna(axis=1, how="all")
        return pd.DataFrame(settings).join(figures).set_axis([*self.runs])

    def plot(self) -> Figure:
        """Return the learning curves in one picture: means over each run's clients."""
        return charts.compare_curves(self.runs)

    def _repr_html_(self) -> str:
        content = BytesIO()
        self.plot().savefig(content, format="png")
        data = b64encode(content.getvalue()).decode()
        picture = f'<img alt="learning curves" src="data:image/png;base64,{data}">'
        return f"{self.frame.to_html()}\n{picture}"


def compare(runs: Sequence[results.Run] | Mapping[str, results.Run]) -> Comparison:
    """Set runs side by side.

    Args:
        runs: The runs, by name, or a list, where the settings that differ become the names.

    Raises:
        UserError: There are none.
    """
    if not runs:
        raise UserError("compare: expected at least one run")
    if isinstance(runs, Mapping):
        return Comparison(runs)
    names = [", ".join(f"{key} = {own[key]}" for key in own) for own in _differing(runs)]
    alike = {name for name in names if names.count(name) > 1}
    numbered = [f"{name} #{i}".strip() if name in alike else name for i, name in enumerate(names)]
    return Comparison(dict(zip(numbered, runs, strict=True)))


def _differing(runs: Sequence[results.Run]) -> list[dict[str, Any]]:
    """Return the settings of each run in which it is not like all the others."""
    every = [run.config.to_flat() for run in runs]
    keys = differing(every)
    return [{key: own[key] for key in keys} for own in every]
