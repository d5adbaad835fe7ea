"""What is run: a parameterised circuit, described without saying how it is simulated."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from qmoe_fed.errors import UserError

Embedding = Literal["ry", "rx"]
Entangler = Literal["cz", "none", "strongly-entangling"]
Readout = Literal["probs", "expval"]


@dataclass(frozen=True)
class Circuit:
    """Angle embedding, then ``layers`` times (one local map per qubit, an entangler), then readout.

    With ``cz`` or ``none`` the trainable local map is RY(θ) (paper, section IV-C: CZ between
    neighbours j, j+1). With ``strongly-entangling`` it is Rot(φ, θ, ω) = RZ(ω) RY(θ) RZ(φ) and the
    entangler is a ring of CNOTs of growing range, as PennyLane's ``StronglyEntanglingLayers``.

    Attributes:
        qubits: Number of qubits n.
        layers: Number of variational layers L.
        embedding: Axis of the embedding rotation. Feature j turns qubit j; with fewer features
            than qubits they repeat cyclically.
        entangler: What follows each layer of local maps.
        reuploading: Whether the embedding comes before every layer, not only before the first.
        readout: ``probs`` reads the probabilities of the first ``measured`` qubits,
            ``expval`` the expectation ⟨Z⟩ of each of them.
        measured: Number of qubits read, counted from the first; 0 to n.
    """

    qubits: int
    layers: int
    embedding: Embedding = "ry"
    entangler: Entangler = "cz"
    reuploading: bool = False
    readout: Readout = "probs"
    measured: int = -1

    def __post_init__(self) -> None:
        if self.measured == -1:
            object.__setattr__(self, "measured", self.qubits)
        if not 0 <= self.measured <= self.qubits:
            raise UserError(f"cannot measure {self.measured} of {self.qubits} qubits")

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Shape of θ: ``(L, n)`` for RY layers, ``(L, n, 3)`` for strongly entangling ones."""
        shape = (self.layers, self.qubits)
        return (*shape, 3) if self.entangler == "strongly-entangling" else shape

    @property
    def outputs(self) -> int:
        """Number of values read out: 2^measured probabilities or ``measured`` expectations."""
        return 2**self.measured if self.readout == "probs" else self.measured

    @property
    def real(self) -> bool:
        """Whether all amplitudes stay real: RY embedding, RY layers, CZ."""
        return self.embedding == "ry" and self.entangler != "strongly-entangling"

    def embedded_angles(self, x: Tensor) -> Tensor:
        """Return an angle for each qubit, features repeated cyclically.

        Args:
            x: Features, shape ``(..., d)``.

        Returns:
            Shape ``(..., n)``.

        Raises:
            UserError: There are more features than qubits, or none.
        """
        n, features = self.qubits, x.shape[-1]
        if not 1 <= features <= n:
            raise UserError(f"{features} features do not fit {n} qubits: 1 to {n} can be embedded")
        return x if features == n else x[..., [j % features for j in range(n)]]

    def cnots(self, layer: int) -> list[tuple[int, int]]:
        """Return the (control, target) pairs after a strongly entangling layer, in order."""
        n = self.qubits
        if n == 1:
            return []
        reach = layer % (n - 1) + 1
        return [(j, (j + reach) % n) for j in range(n)]
