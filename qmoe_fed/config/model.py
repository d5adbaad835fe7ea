"""The section of a run's settings that describes the mixture of experts, see ``sections``."""

import math
from dataclasses import dataclass, fields, replace

from qmoe_fed.config import values
from qmoe_fed.config.settings import (
    Section,
    between,
    named,
    one_of,
    parse_options,
    positive,
    readable,
    setting,
)
from qmoe_fed.errors import UserError, unknown

CHANNELS = ("depolarizing", "amplitude-damping", "phase-damping", "bit-flip")

_engine = one_of("statevector", "pennylane:<device>", other="pennylane:")
_mitigation = one_of("none", "readout", "linear", "richardson", "exponential")
_layers = readable(values.depths, "a number above 0, or a range among clients, e.g. '1..3'")
_chance = readable(values.Spread.of, "a number in [0, 1], or of each client 'uniform(0, 0.05)'")


@dataclass(frozen=True)
class ExpertCircuit(Section):
    """Experts that are circuits: the options of ``expert = "quantum"``."""

    circuit: str = setting("layered", named("layered"))
    qubits: int = setting(2, between(1, 20))
    layers: int = setting(3, between(1))
    embedding: str = setting("ry", one_of("ry", "rx", "amplitude"))
    entangler: str = setting("cz", one_of("cz", "none", "strongly-entangling"))
    reuploading: bool = setting(False)
    head: bool = setting(True)

    @classmethod
    def read(cls, text: str, qubits: int) -> "ExpertCircuit":
        """Return the options in a setting; experts have the router's qubits if none are named.

        Raises:
            UserError: An option is unknown or out of range.
        """
        options = {"qubits": qubits, **parse_options("expert-options", text)}
        names = [item.name for item in fields(cls)]
        for name in options:
            if name not in names:
                raise unknown("option of a quantum expert", name, names)
        return cls(**options)


@dataclass(frozen=True)
class ModelConfig(Section):
    """The mixture of experts each client trains."""

    router: str = setting("quantum", named("linear", "mlp", "trig", "quantum", "none"))
    router_options: str = setting("")
    num_experts: int = setting(4, between(1))
    expert: str = setting("linear", named("linear", "quantum"))
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
    device_options: str = setting("")  # of a PennyLane device, e.g. "seed = 3"
    noise_channel: str = setting("none", one_of("none", *CHANNELS))
    noise_strength: float | str = setting(0.0, _chance)  # or of each client: "uniform(0, 0.05)"
    noise_placement: str = setting("gate", one_of("gate", "notebook"))
    readout_error: float | str = setting(0.0, _chance)  # or of each client
    mitigation: str = setting("none", _mitigation)  # in training and evaluation
    noise_drift: float = setting(0.0, between(0, 1))  # most per round, as a share of the range
    calibration: bool = setting(False)  # the router sees its device's place in the range, as angle
    shots: int = setting(0, between(0))  # that a circuit's outputs are averages of; 0: exact
    shot_gradients: str = setting("exact", one_of("exact", "parameter-shift", "spsa"))
    shot_source: str = setting("seed", one_of("seed", "device"))  # what draws or measures them
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
        if self.router == "none" and self.num_experts > 1:
            raise UserError(
                f"router = 'none' with num-experts = {self.num_experts}: nothing chooses among "
                "several; use num-experts = 1 or another router"
            )
        if self.expert == "quantum":
            ExpertCircuit.read(self.expert_options, self.qubits)
        self._check_circuit()
        self._check_device()

    @property
    def expert_circuit(self) -> ExpertCircuit:
        """What circuits experts are, if they are."""
        return ExpertCircuit.read(self.expert_options, self.qubits)

    @property
    def quantum(self) -> tuple[str, ...]:
        """The parts of the mixture that are circuits: ``router``, ``experts``."""
        kinds = {"router": self.router, "experts": self.expert}
        return tuple(part for part, kind in kinds.items() if kind == "quantum")

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

    @property
    def without_shots(self) -> "ModelConfig":
        """The same model with exact probabilities."""
        return replace(self, shots=0, shot_gradients="exact", shot_source="seed")

    def _check_circuit(self) -> None:
        asked = {
            "noise-channel": self.noise_channel != "none",
            "readout-error": self.readout_errors.high > 0,
            "mitigation": self.mitigation != "none",
            "shots": self.shots > 0,
        }
        if self.expert == "quantum":  # then these are of its circuits too
            asked = {}
        asked |= {"a range of layers": len(self.depths) > 1, "circuit": self.circuit != "layered"}
        what = ", ".join(name for name, given in asked.items() if given)
        if self.router != "quantum" and what:
            raise UserError(f"router = {self.router!r}: {what} needs router = 'quantum'")
        if self.noise_channel == "none" and self.strengths.high > 0:
            given = f"noise-strength = {self.noise_strength!r}"
            raise UserError(f"{given} needs a noise-channel: one of {', '.join(CHANNELS)}")
        described = self.embedding, self.entangler, self.reuploading
        if self.circuit != "layered" and described != ("ry", "cz", True):
            raise UserError(
                f"circuit = {self.circuit!r} would ignore embedding, entangler and reuploading: "
                "they describe circuit = 'layered'"
            )

    def _check_device(self) -> None:
        """Refuse what the engine cannot do, shots that nobody takes, devices that do not differ."""
        alike = not (self.strengths.differ or self.readout_errors.differ)
        if alike and (self.noise_drift or self.calibration):
            raise UserError(
                "noise-drift and calibration need devices that differ: give each client its own "
                "noise-strength or readout-error, e.g. 'uniform(0, 0.05)'"
            )
        if self.calibration and self.router == "none":
            raise UserError("calibration = true: router = 'none' looks at nothing")
        if self.noisy and self.circuit_engine not in ("statevector", "pennylane:default.mixed"):
            raise UserError(
                f"circuit-engine = {self.circuit_engine!r} cannot simulate noise; use "
                "'statevector', or 'pennylane:default.mixed'"
            )
        if self.shot_gradients != "exact" and not self.shots:
            raise UserError(f"shot-gradients = {self.shot_gradients!r} needs shots above 0")
        own = self.device_options or self.shot_source == "device"
        if own and self.circuit_engine == "statevector":
            raise UserError(
                "device-options and shot-source = 'device' are for a PennyLane device: set "
                "circuit-engine = 'pennylane:<device>'"
            )
        if self.shot_source == "device" and self.shot_gradients == "exact":
            raise UserError(
                "shot-source = 'device': a device that measures has no exact probabilities to "
                "train on; set shot-gradients = 'parameter-shift' or 'spsa'"
            )
        parse_options("device-options", self.device_options)
