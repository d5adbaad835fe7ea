"""Is it worth sharing a router? One table, and a verdict computed from it.

python simulations/compare_sharing.py --data-dir DIR   10 minutes on 2 cores
python simulations/compare_sharing.py --quick          a minute, no files needed
python simulations/compare_sharing.py --full           everything; may be stopped and called again
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from qmoe_fed.errors import UserError
from qmoe_fed.launch.processes import Stopped, stoppable
from qmoe_fed.studies.sharing.grid import DEFAULT, FULL, QUICK
from qmoe_fed.studies.sharing.study import compare


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_const", dest="grid", const=QUICK, help="two cells of one task"
    )
    size.add_argument(
        "--full", action="store_const", dest="grid", const=FULL, help="all tasks and routers"
    )
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 5; 3 if --quick)")
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("runs/compare-sharing"),
        help="finished runs found there are not run again (default: %(default)s)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder that holds mnist/ and fashion-mnist/ (default: they are downloaded)",
    )
    options = parser.parse_args()
    grid = options.grid or DEFAULT
    if options.seeds is not None:
        grid = replace(grid, seeds=options.seeds)
    data_dir = str(options.data_dir.expanduser().absolute()) if options.data_dir else ""
    try:
        with stoppable():
            compare(grid, options.output_dir, data_dir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stop:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + stop.signal
    return 0


if __name__ == "__main__":
    sys.exit(main())
