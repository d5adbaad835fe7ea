"""How much noise does a quantum router bear? Accuracy on Two Moons by channel, place and strength.

python simulations/noise_study.py           a minute and a half on 2 free cores
python simulations/noise_study.py --quick   a first look, in seconds
"""

import sys

from qmoe_fed.studies.command import main
from qmoe_fed.studies.noise.settings import Settings
from qmoe_fed.studies.noise.study import QUICK, study

if __name__ == "__main__":
    sys.exit(main(study, Settings, QUICK, __doc__ or ""))
