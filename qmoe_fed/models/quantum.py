"""A circuit with trained angles that is run and measured: what quantum routers and experts are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qmoe_fed.circuits import Circuit, Engine, engine
from qmoe_fed.circuits.noise.mitigation import circuits_of, mitigated
from qmoe_fed.errors import UserError, unknown
from qmoe_fed.models.shifts import shifts
from qmoe_fed.models.shots import Shots

SHOT_GRADIENTS = ("exact", "parameter-shift", "spsa")

STREAM = 2**53
"""Keys of draws are below it; those of circuits side by side are so far apart."""

MOST_DRAWING = 2**63 // STREAM - 1
"""Circuits side by side that have keys of 64 bits."""


@dataclass(frozen=True)
class Running:
    """How circuits are run.

    Attributes:
        engine: By which engine, see ``circuits.engine``.
        shots: Number of measurements for each sample; 0: exact probabilities.
        shot_gradients: ``exact``, ``parameter-shift`` or ``spsa``.
        shot_source: ``seed`` draws outcomes of the engine's exact probabilities; ``device`` has the
            PennyLane device measure.
        device_options: Of that device, e.g. ``"seed = 3"``.
        mitigation: ``none``, or how noise is mitigated, see ``mitigated``. Shots are of each of
            the circuits that this takes.

    Raises:
        UserError: There is no such way, or two of these do not go together.
    """

    engine: str = "statevector"
    shots: int = 0
    shot_gradients: str = "exact"
    shot_source: str = "seed"
    device_options: str = ""
    mitigation: str = "none"

    def __post_init__(self) -> None:
        if self.shot_gradients not in SHOT_GRADIENTS:
            raise unknown("shot-gradients", self.shot_gradients, SHOT_GRADIENTS)

    def start(self) -> Engine:
        """Return the engine; UserError if there is no such engine or device."""
        shots = self.shots if self.shot_source == "device" else 0
        return engine(self.engine, self.device_options, shots)


EXACT = Running()
"""Exact simulation."""


class QuantumModule(nn.Module):
    """A circuit and its trained angles θ, ``(P,)``, or ``(N, P)`` for N circuits of one form.

    Where the circuit has slots for strengths of noise, they are the buffer ``strengths``, ``(S,)``:
    not trained, and replicas may each have their own.

    With ``shots`` what is read are averages of so many measurements. What is drawn is a function of
    the buffer ``draw``, a key from ``draw_keys`` that must be given anew for each step and replica.
    With other ``shot_gradients`` than ``exact`` training draws too, and gradients come from other
    circuits that are sampled; with ``exact`` the module draws in evaluation only, i.e. after
    ``eval()``, and training sees exact probabilities.

    Args:
        circuit: The circuit, with its readout.
        shape: Of θ; it may be longer than the circuit needs, which reads the first ones.
        init_angle: θ is drawn uniformly from [-init_angle, init_angle], radians.
        running: How it is run.

    Raises:
        UserError: The circuit has no parameter-shift rule or nothing to mitigate, there is no such
            engine or device, or so many circuits cannot draw.
    """

    angles = frozenset({"theta"})
    strengths: Tensor
    draw: Tensor

    def __init__(
        self,
        circuit: Circuit,
        shape: tuple[int, ...],
        init_angle: float,
        running: Running,
    ) -> None:
        super().__init__()
        self.circuit = circuit
        self.init_bounds: Mapping[str, float] = {"theta": init_angle}
        self.simulate = running.start()
        self.theta = nn.Parameter(torch.zeros(shape))
        if circuit.strengths:
            self.register_buffer("strengths", torch.zeros(circuit.strengths))
        self.training_draws = running.shot_gradients != "exact"
        self.mitigation = running.mitigation
        circuits = circuits_of(circuit, running.mitigation, running.engine != "statevector")
        self.shots: dict[Circuit, Shots] = {}
        if running.shots:
            if len(shape) > 1 and shape[0] > MOST_DRAWING:
                raise UserError(
                    f"shots with {shape[0]} quantum experts: at most {MOST_DRAWING} draw apart"
                )
            at_device = running.shot_source == "device"
            number, way = running.shots, running.shot_gradients
            for place, own in enumerate(circuits):
                shots = Shots(own, self.simulate, number, way == "spsa", at_device, place)
                self.shots[own] = shots
                if way == "parameter-shift":
                    shifts(shots.outcomes)  # refused before any work
            # no key yet; not saved, as it is of one step
            self.register_buffer("draw", torch.tensor(-1), persistent=False)

    def measure(self, x: Tensor) -> Tensor:
        """Return what is read for x ``(B, d)``: ``(B, outputs)``, or ``(N, B, outputs)``."""
        strengths = self.strengths if self.circuit.strengths else None
        theta = self.theta[..., : self.circuit.parameters]
        if not self.shots or not (self.training_draws or not self.training):
            return mitigated(self.simulate, self.mitigation)(self.circuit, x, theta, strengths)
        draw = self.draw
        if theta.dim() > 1:  # the router has the first stream
            streams = STREAM * torch.arange(1, len(theta) + 1, device=draw.device)
            draw = torch.where(draw < 0, draw, draw + streams)
            x, strengths = x.unsqueeze(0), None if strengths is None else strengths.unsqueeze(0)

        def drawn(circuit: Circuit, x: Tensor, theta: Tensor, strengths: Tensor | None) -> Tensor:
            return self.shots[circuit](x, theta, strengths, draw)

        return mitigated(drawn, self.mitigation)(self.circuit, x, theta, strengths)


class QuantumExperts(QuantumModule):
    """N circuits of one form with angles of their own, ⟨Z⟩ of each to class scores.

    Experts of the fully quantum mixture (Nguyen et al., arXiv 2507.05190); all run side by side.
    With a head the scores are a linear map of every ⟨Zⱼ⟩, another one for each expert, as in the
    first notebook of the hybrid's authors; without one they are ⟨Z⟩ of the first C qubits.

    Args:
        circuit: The circuit; its readout is set here.
        num_experts: Number of experts N.
        classes: Number of classes C.
        head: Whether there is a head.
        init_angle: θ is drawn uniformly from [-init_angle, init_angle], radians.
        running: How circuits are run.

    Raises:
        UserError: There are fewer qubits than classes and no head; others as ``QuantumModule``.
    """

    def __init__(
        self,
        circuit: Circuit,
        num_experts: int,
        classes: int,
        head: bool,
        init_angle: float = math.pi,
        running: Running = EXACT,
    ) -> None:
        if not head and classes > circuit.qubits:
            raise UserError(
                f"expert-options: {circuit.qubits} qubits without a head tell no {classes} classes "
                "apart; set head = true or use more qubits"
            )
        measured = circuit.qubits if head else classes
        circuit = replace(circuit, readout="expval", measured=measured)
        super().__init__(circuit, (num_experts, circuit.parameters), init_angle, running)
        self.head = head
        if head:
            bound = circuit.measured**-0.5
            self.init_bounds = {**self.init_bounds, "weight": bound, "bias": bound}
            self.weight = nn.Parameter(torch.zeros(num_experts, classes, circuit.measured))
            self.bias = nn.Parameter(torch.zeros(num_experts, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all experts, ``(B, N, C)``, for x ``(B, d)``."""
        read = self.measure(x)
        if self.head:
            read = read @ self.weight.mT + self.bias.unsqueeze(-2)
        return read.movedim(-3, -2)
