"""Do shared experts specialise by regimes of noise where the router sees its device's calibration?

After an idea of the hybrid's paper (section VII-E), which goes back to Li et al.

python simulations/regimes_study.py           three minutes on a free core
python simulations/regimes_study.py --quick   a first look
"""

import sys

from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.federations import of_file

STUDY = of_file(__file__, __doc__ or "")

if __name__ == "__main__":
    sys.exit(main(STUDY))
