"""The section of a run's settings that describes the mixture of experts, see ``sections``."""

import math
from dataclasses import dataclass

from qmoe_fed.config import values
from qmoe_fed.config.settings import Section, between, named, one_of, positive, readable, setting
from qmoe_fed.errors import UserError

CHANNELS = ("depolarizing", "amplitude-damping", "phase-damping", "bit-flip")

_engine = one_of("statevector", "pennylane:<device>", other="pennylane:")
_layers = readable(values.depths, "a number above 0, or a range among clients, e.g. '1..3'")
_chance = readable(values.Spread.of, "a number in [0, 1], or of each client 'uniform(0, 0.05)'")


@dataclass(frozen=True)
class ModelConfig(Section):
    """The mixture of experts each client trains."""

    router: str = setting("quantum", named("linear", "mlp", "trig", "quantum"))
    router_options: str = setting("")
    num_experts: int = setting(4, between(1))
    expert: str = setting("linear", named("linear"))
    expert_options: str = setting("")
    circuit: str = setting("layered", named("layered"))  # or of your own, e.g. "my_circuit:ring"
    qubits: int = setting(2, between(1, 20))
    layers: int | str = setting(3, _layers)  # or of each client, e.g. "1..3"
    embedding: str = setting("ry", one_of("ry", "rx"))
    entangler: str = setting("cz", one_of("cz", "none", "strongly-entangling"))
    reuploading: bool = setting(True)
    readout: str = setting("probs", one_of("probs", "expval-adapter"))
    init_angle: float = setting(math.pi, positive)  # θ ~ U(-init, init)
    circuit_engine: str = setting("statevector", _engine)  # or pennylane:<device>
    noise_channel: str = setting("none", one_of("none", *CHANNELS))
    noise_strength: float | str = setting(0.0, _chance)  # or of each client: "uniform(0, 0.05)"
    noise_placement: str = setting("gate", one_of("gate", "notebook"))
    readout_error: float | str = setting(0.0, _chance)  # or of each client
    shots: int = setting(0, between(0))  # that a router's weights are estimated from; 0: exact
    shot_gradients: str = setting("exact", one_of("exact", "parameter-shift"))
    hidden_width: int = setting(16, between(1))  # of the mlp router
    top_k: int = setting(0, between(0))  # experts that a sample is sent to; 0: all

    def __post_init__(self) -> None:
        super().__post_init__()
        states = 2**self.qubits
        if (self.router, self.readout) == ("quantum", "probs") and self.num_experts > states:
            raise UserError(
                f"num-experts = {self.num_experts}: {self.qubits} qubits have only {states} basis "
                "states to read; use more qubits, fewer experts or readout = 'expval-adapter'"
            )
        if self.top_k > self.num_experts:
            raise UserError(f"top-k = {self.top_k}: num-experts = {self.num_experts} is the most")
        self._check_circuit()

    @property
    def depths(self) -> range:
        """The numbers of layers that clients have; the last is that of the shared router."""
        return values.depths(self.layers)

    @property
    def strengths(self) -> values.Spread:
        """Strengths of the noise channel among clients, in [0, 1]."""
        return values.Spread.of(self.noise_strength)

    @property
    def readout_errors(self) -> values.Spread:
        """Probabilities among clients that a measured bit is read wrongly, in [0, 1]."""
        return values.Spread.of(self.readout_error)

    @property
    def noisy(self) -> bool:
        """Whether the circuit has any noise, be it of strength 0."""
        return self.noise_channel != "none" or self.readout_errors.high > 0

    def _check_circuit(self) -> None:
        asked = {
            "noise-channel": self.noise_channel != "none",
            "readout-error": self.readout_errors.high > 0,
            "shots": self.shots > 0,
            "a range of layers": len(self.depths) > 1,
            "circuit": self.circuit != "layered",
        }
        what = ", ".join(name for name, given in asked.items() if given)
        if self.router != "quantum" and what:
            raise UserError(f"router = {self.router!r}: {what} needs router = 'quantum'")
        if self.noise_channel == "none" and self.strengths.high > 0:
            given = f"noise-strength = {self.noise_strength!r}"
            raise UserError(f"{given} needs a noise-channel: one of {', '.join(CHANNELS)}")
        if self.noisy and self.circuit_engine not in ("statevector", "pennylane:default.mixed"):
            raise UserError(
                f"circuit-engine = {self.circuit_engine!r} cannot simulate noise; use "
                "'statevector', or 'pennylane:default.mixed'"
            )
        if self.shot_gradients != "exact" and not self.shots:
            raise UserError(f"shot-gradients = {self.shot_gradients!r} needs shots above 0")
        described = self.embedding, self.entangler, self.reuploading
        if self.circuit != "layered" and described != ("ry", "cz", True):
            raise UserError(
                f"circuit = {self.circuit!r} would ignore embedding, entangler and reuploading: "
                "they describe circuit = 'layered'"
            )
