"""What is run: a list of operations, described without saying how it is simulated."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from qmoe_fed.circuits.operations import Angle, Channel, Gate, Operation, Slot
from qmoe_fed.errors import UserError

Readout = Literal["probs", "expval"]


@dataclass(frozen=True)
class Circuit:
    """Operations on qubits that start in state 0, then a readout. Hashable; equal if all is equal.

    Attributes:
        qubits: Number of qubits n.
        operations: What is done to them, in order.
        readout: ``probs`` reads the probabilities of the first ``measured`` qubits, qubit 0 being
            the leading bit; ``expval`` the expectation ⟨Z⟩ of each of them.
        measured: Number of qubits read, counted from the first; 0 to n. -1 is all.

    Raises:
        UserError: A wire does not exist, numbers of parameters have gaps, a state is embedded on
            wires in use, or more qubits are measured than there are.
    """

    qubits: int
    operations: tuple[Operation, ...]
    readout: Readout = "probs"
    measured: int = -1

    def __post_init__(self) -> None:
        if self.qubits < 1:
            raise UserError(f"a circuit of {self.qubits} qubits: expected 1 or more")
        object.__setattr__(self, "operations", tuple(self.operations))
        if self.measured == -1:
            object.__setattr__(self, "measured", self.qubits)
        if not 0 <= self.measured <= self.qubits:
            raise UserError(f"cannot measure {self.measured} of {self.qubits} qubits")
        if self.readout not in ("probs", "expval"):
            raise UserError(f"readout = {self.readout!r}: expected 'probs' or 'expval'")
        used: set[int] = set()
        for number, operation in enumerate(self.operations):
            if not isinstance(operation, Gate | Channel):
                raise UserError(
                    f"operation {number} is a {type(operation).__name__}, not a Gate or Channel"
                )
            if max(operation.wires) >= self.qubits:
                raise UserError(
                    f"operation {number}, {operation.name} on wires {operation.wires}: there are "
                    f"only {self.qubits} qubits, numbered from 0"
                )
            if operation.name == "amplitude-embedding" and used & set(operation.wires):
                raise UserError(
                    f"operation {number}, {operation.name} on wires {operation.wires}: must come "
                    "before all else on its wires"
                )
            used |= set(operation.wires)
        numbers = {k for angle in self._angles for k, _ in angle.parameters}
        if missing := sorted(set(range(self.parameters)) - numbers):
            raise UserError(
                f"parameters must be numbered 0, 1, 2, … without gaps: there is {max(numbers)}, "
                f"but no {', '.join(map(str, missing[:5]))}"
            )

    @cached_property
    def parameters(self) -> int:
        """Number of parameters P."""
        return 1 + max((k for angle in self._angles for k, _ in angle.parameters), default=-1)

    @cached_property
    def features(self) -> int:
        """Number of features that it reads."""
        return 1 + max((j for angle in self._angles for j, _ in angle.features), default=-1)

    @cached_property
    def strengths(self) -> int:
        """Number of strengths S that are given when it is run."""
        given = [o.strength for o in self.operations if isinstance(o, Channel)]
        return 1 + max((s.number for s in given if isinstance(s, Slot)), default=-1)

    @property
    def outputs(self) -> int:
        """Number of values read out: 2^measured probabilities or ``measured`` expectations."""
        return 2**self.measured if self.readout == "probs" else self.measured

    @cached_property
    def noisy(self) -> bool:
        """Whether there is a channel in it."""
        return any(isinstance(operation, Channel) for operation in self.operations)

    @cached_property
    def _angles(self) -> tuple[Angle, ...]:
        return tuple(a for o in self.operations if isinstance(o, Gate) for a in o.angles)

    @cached_property
    def _hash(self) -> int:
        return hash((self.qubits, self.operations, self.readout, self.measured))

    def __hash__(self) -> int:
        """Return a number that is worked out once: engines look circuits up on every call."""
        return self._hash

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return Circuit, (self.qubits, self.operations, self.readout, self.measured)

    def __deepcopy__(self, _: dict[int, object]) -> "Circuit":
        return self
