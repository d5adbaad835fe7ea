"""When is it worth sharing a router? The gain over training alone, by samples per client.

python simulations/sharing_map.py           a quarter of an hour on 2 cores; may be stopped
python simulations/sharing_map.py --quick   half a minute
"""

import sys
from dataclasses import dataclass, field
from itertools import product

import pandas as pd
from compare_sharing import GRID
from matplotlib.figure import Figure

from qmoe_fed.config.settings import Tree, between, setting
from qmoe_fed.experiments import command
from qmoe_fed.experiments.cells import Cell
from qmoe_fed.experiments.command import Report, Study, main
from qmoe_fed.experiments.engine import Runner
from qmoe_fed.experiments.measures.sharing import shared
from qmoe_fed.experiments.views import pictures
from qmoe_fed.experiments.views.tables import make_tables, only, paired
from qmoe_fed.results.figures import style

MAP = GRID["map"]
COLORS = dict(zip(MAP["sharing"], (style.BLUE, style.VERMILLION), strict=True))


@dataclass(frozen=True)
class Scope(command.Scope):
    """What is asked of the map."""

    epochs: int = setting(60, between(5))  # of every client over its samples, in all rounds


@dataclass(frozen=True)
class Settings(Tree):
    """All settings of the map."""

    scope: Scope = field(default_factory=Scope)


def cell(task: str, router: str, sharing: str, samples: int, seed: int, scope: Scope) -> Cell:
    """Return one run."""
    settings = {
        **GRID["common"],
        **GRID["tasks"]["moons, label skew"],
        **GRID["ways"][sharing],
        **GRID["routers"][router],
        **MAP["tasks"][task],
        **MAP["settings"],
        "train-samples": samples,
        "unseen-samples": str(min(samples, 8)),
        "batch-size": max(MAP["samples"]),
        "num-server-rounds": scope.epochs // MAP["settings"]["local-epochs"],
        "seed": seed,
    }
    about = {"task": task, "router": router, "sharing": sharing, "samples": samples}
    return Cell(shared, about, {"settings": settings, "method": "federated"})


def report(settings: Settings, run: Runner) -> Report:
    """Run all cells, show what sharing gains."""
    scope, ways = settings.scope, [*MAP["alone"], *MAP["sharing"]]
    sizes, routers = MAP["samples"], MAP["routers"]
    if scope.quick:
        sizes, routers = sizes[1:6:2], routers[1:2]
    places = product(MAP["tasks"], routers, ways, sizes, scope.streams)
    rows = gains(run([cell(*place, scope) for place in places]))
    return Report(make_tables(MAP["tables"], rows), {"sharing-map": draw(rows)})


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of what is shared, with ``gain``: how far ahead of training alone they are.

    Of the ways to train alone that counts which has the better mean.
    """
    found = []
    for _, own in rows.groupby(["task", "router", "samples"], sort=False):
        alone = only(own, sharing=own.groupby("sharing")["accuracy"].mean()[MAP["alone"]].idxmax())
        for sharing in MAP["sharing"]:
            one = only(own, sharing=sharing)
            found.append(one.assign(gain=paired(one, alone)))
    return pd.concat(found)


def draw(rows: pd.DataFrame) -> Figure:
    """Draw a row of panels for each task, a column for each router."""
    routers, tasks = rows["router"].unique(), rows["task"].unique()
    figure, axes = pictures.new_panels(
        len(tasks) * len(routers), len(routers), 0.6 + 1.7 * len(tasks), sharey="row"
    )
    for ax, (task, router) in zip(axes, product(tasks, routers), strict=True):
        for sharing, color in COLORS.items():
            own = only(rows, task=task, router=router, sharing=sharing)
            shares = [gain.to_numpy() for _, gain in own.groupby("samples")["gain"]]
            pictures.draw_means(ax, sharing, own["samples"].unique(), shares, color, marker="o")
        ax.axhline(0, color=style.BLACK, linewidth=style.THIN)
        ax.set_xscale("log", base=2)
        ax.set_xticks(rows["samples"].unique(), [f"{size}" for size in rows["samples"].unique()])
        style.dress(ax, f"{task}, {router}")
    for ax in axes[:: len(routers)]:
        ax.set_ylabel("gain over alone, points")
    for ax in axes[-len(routers) :]:
        ax.set_xlabel("samples per client")
    pictures.add_legend(figure)
    return figure


STUDY = Study(
    "sharing-map", __doc__ or "", Settings, report, {"quick": {"quick": True, "seeds": 3}}
)

if __name__ == "__main__":
    sys.exit(main(STUDY))
