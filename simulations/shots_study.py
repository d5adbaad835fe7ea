"""How many shots does a round need? Gradients by parameter shift and by SPSA in a federation.

python simulations/shots_study.py           a minute on a free core
python simulations/shots_study.py --quick   a first look
"""

import sys

from qmoe_fed.experiments.command import main
from qmoe_fed.experiments.federations import of_file

STUDY = of_file(__file__, __doc__ or "")

if __name__ == "__main__":
    sys.exit(main(STUDY))
