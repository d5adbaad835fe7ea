"""The ablation of the paper on one client, with spreads, controls and the paper's numbers beside.

python simulations/centralized_ablation.py                 Two Moons and training dynamics
python simulations/centralized_ablation.py --data-dir DIR  images too
python simulations/centralized_ablation.py --quick         a first look in seconds
"""

import sys

from qmoe_fed.studies.ablation.settings import QUICK, Settings
from qmoe_fed.studies.ablation.study import run
from qmoe_fed.studies.command import main

if __name__ == "__main__":
    sys.exit(main(run, Settings, QUICK, __doc__, data_dir=True))
