"""A federation you can call, and Flower around it: private experts, a shared router."""

from qmoe_fed.federated.federation import Federation, Report, State
from qmoe_fed.federated.updates import ClientTable, Cohort, Layout

__all__ = ["ClientTable", "Cohort", "Federation", "Layout", "Report", "State"]
