import subprocess
import sys

import pytest
import torch
from random_circuits import angles

from qmoe_fed.circuits import engine, statevector
from qmoe_fed.circuits.ansatz import layered
from qmoe_fed.errors import UserError


@pytest.mark.parametrize(
    "name", ["statevector", "pennylane:default.qubit", "pennylane:lightning.qubit"]
)
def test_every_engine_runs_the_same_circuit(name):
    circuit = layered(2, 2, 2)
    x, theta = angles(circuit, seed=0)
    actual = engine(name)(circuit, x, theta, None)
    torch.testing.assert_close(actual, statevector.run(circuit, x, theta))


@pytest.mark.parametrize("name", ["statevectr", "pennylane", "pennylane:", "qiskit:aer"])
def test_an_unknown_engine_is_refused_with_the_known_ones(name):
    with pytest.raises(UserError, match=r"unknown circuit engine .*pennylane:<device>"):
        engine(name)


def test_an_unknown_device_is_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"unknown PennyLane device 'nosuch'.*default\.qubit"):
        engine("pennylane:nosuch")


def test_pennylane_is_not_imported_unless_asked_for():
    code = "import sys, qmoe_fed.circuits as c; c.engine('statevector')\n"
    code += "sys.exit('pennylane' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
