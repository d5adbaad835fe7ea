"""The clients: train their own experts and the shared router on their own data."""

from qmoe_fed.federated import client_app
from strategies import make_mechanisms

app = client_app(make_mechanisms)
