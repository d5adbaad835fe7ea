"""The sections of a run's settings: their defaults, and what each value may be.

Every setting has one flat kebab-case name (``num-clients``), the same in a TOML file, in ``flwr run
--run-config`` and in ``config.json``. The sections group them for the code; no name has them in it.
"""

import math
from dataclasses import dataclass

from qmoe_fed.config import values
from qmoe_fed.config.plugins import AGGREGATORS, SERVER_STEPS
from qmoe_fed.config.settings import Section, between, named, one_of, positive, readable, setting
from qmoe_fed.errors import UserError

MOONS_PARTITIONS = ("iid", "dirichlet", "concept-shift", "rotation")
IMAGE_PARTITIONS = (*MOONS_PARTITIONS[:3], "pathological", "shard", "inner-dirichlet")
CHANNELS = ("depolarizing", "amplitude-damping", "phase-damping", "bit-flip")

_device = one_of("cpu", "cuda", other="cuda:", hint="Or one of several GPUs, e.g. 'cuda:1'.")
_engine = one_of("statevector", "pennylane:<device>", other="pennylane:")
_classes = readable(values.labels, "'all' or at least two different labels from 0 to 9, e.g. '0,1'")
_layers = readable(values.depths, "a number above 0, or a range among clients, e.g. '1..3'")
_chance = readable(values.Spread.of, "a number in [0, 1], or of each client 'uniform(0, 0.05)'")
_sizes = readable(values.sizes, "positive whole numbers with commas between, e.g. '4,8,16,32'")


@dataclass(frozen=True)
class FederationConfig(Section):
    """Who takes part, for how long, and what travels."""

    engine: str = setting("flower", one_of("flower", "local"))
    seed: int = setting(0, between(0))
    num_clients: int = setting(50, between(1))
    num_unseen_clients: int = setting(50, between(0))
    num_server_rounds: int = setting(30, between(1))
    fraction_train: float = setting(1.0, between(0, 1))
    sampling: str = setting("fixed", one_of("fixed", "poisson"))
    share: str = setting("router", one_of("router", "experts", "all", "none"))
    supernode_timeout: float = setting(60.0, positive)  # seconds
    round_timeout: float = setting(600.0, positive)  # seconds

    @property
    def unseen_clients(self) -> range:
        """Ids of the clients that never train: they follow those that do."""
        return range(self.num_clients, self.num_clients + self.num_unseen_clients)


@dataclass(frozen=True)
class DataConfig(Section):
    """What each client holds."""

    dataset: str = setting("moons", one_of("moons", "digits", "mnist", "fashion-mnist"))
    partition: str = setting("dirichlet", one_of(*MOONS_PARTITIONS, *IMAGE_PARTITIONS))
    dirichlet_alpha: float = setting(3.0, positive)
    train_samples: int = setting(64, between(1))  # per client; moons only
    test_samples: int = setting(64, between(1))  # per client; moons only
    noise: float = setting(0.1, between(0))  # standard deviation; moons only
    test_fraction: float = setting(0.25, between(0.01, 0.99))  # of each client's share; images
    max_train_samples: int = setting(0, between(0))  # per client; 0: its whole share; images
    public_samples: int = setting(200, between(2))  # fits the projection; images
    features: int = setting(0, between(0))  # 0: one per qubit; images
    classes: str = setting("all", _classes)  # or those in use, e.g. "0,1"; images
    classes_per_client: int = setting(2, between(1))  # pathological; shards of one class: shard
    concept_groups: int = setting(2, between(2))  # clients that name classes alike; concept-shift

    def __post_init__(self) -> None:
        super().__post_init__()
        moons, classes = self.dataset == "moons", len(self.labels)
        allowed = MOONS_PARTITIONS if moons else IMAGE_PARTITIONS
        if self.partition not in allowed:
            raise UserError(
                f"partition = {self.partition!r} is not for dataset = {self.dataset!r}; allowed "
                f"there: {', '.join(allowed)}"
            )
        if moons and (self.classes != "all" or self.features):
            raise UserError("classes and features are for images; Two Moons has 2 of each")
        if self.partition == "concept-shift" and self.concept_groups > classes:
            raise UserError(
                f"concept-groups = {self.concept_groups}: {classes} classes can be renamed in "
                f"{classes} ways that differ on every sample; use at most so many groups"
            )
        if self.partition == "pathological" and self.classes_per_client > classes:
            raise UserError(
                f"classes-per-client = {self.classes_per_client}: there are only {classes} classes"
            )

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels in use, in the order in which they are numbered as classes 0, 1, …"""
        return (0, 1) if self.dataset == "moons" else values.labels(self.classes)


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


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How a client trains between two rounds."""

    local_epochs: int = setting(10, between(1))
    batch_size: int = setting(32, between(1))
    learning_rate: float = setting(0.05, positive)
    optimizer: str = setting("adam", one_of("sgd", "momentum", "adam"))
    keep_optimizer_state: bool = setting(False)
    weight_decay: float = setting(1e-3, between(0))  # of all parameters that are not angles
    proximal_mu: float = setting(0.0, between(0))  # pull of shared parameters to where they were
    load_balancing: float = setting(0.0, between(0))  # coefficient of Switch's auxiliary loss
    execution: str = setting("vmap", one_of("vmap", "serial"))
    device: str = setting("cpu", _device)
    threads: int = setting(1, between(1))  # of torch on the cpu; more pay from ~10,000 clients on


@dataclass(frozen=True)
class StrategyConfig(Section):
    """What the server does with the clients' updates."""

    strategy: str = setting("router", named("router"))
    strategy_options: str = setting("")
    aggregator: str = setting("mean", named(*AGGREGATORS))
    weighting: str = setting("uniform", one_of("uniform", "examples"))
    trim_fraction: float = setting(0.1, between(0, 0.49))
    num_byzantine: int = setting(0, between(0))
    server_step: str = setting("plain", one_of(*SERVER_STEPS))
    server_learning_rate: float = setting(1.0, positive)
    server_momentum: float = setting(0.9, between(0, 0.999))
    quorum: float = setting(0.5, between(0, 1))  # share of the sampled clients
    max_update_norm: float = setting(100.0, positive)
    max_weight: float = setting(1e6, between(1))


@dataclass(frozen=True)
class PrivacyConfig(Section):
    """The chain of privacy mechanisms, applied left to right."""

    mechanisms: str = setting("")  # comma separated names or import paths
    mechanism_options: str = setting("")
    clip_norm: float = setting(1.0, positive)
    noise_multiplier: float = setting(1.0, positive)
    delta: float = setting(1e-5, between(1e-15, 0.5))
    max_epsilon: float = setting(0.0, between(0))  # 0: no budget


@dataclass(frozen=True)
class UnseenConfig(Section):
    """How clients that never took part are fitted after training."""

    unseen_samples: str = setting("4,8,16,32", _sizes)
    unseen_epochs: int = setting(200, between(1))

    @property
    def sample_sizes(self) -> list[int]:
        """The numbers of labelled samples to fit with, ascending."""
        return values.sizes(self.unseen_samples)


@dataclass(frozen=True)
class ResultsConfig(Section):
    """Where results go and what is drawn."""

    output_dir: str = setting("")
    data_dir: str = setting("")
    resume: bool = setting(False)  # go on with the run in output-dir, from its last checkpoint
    checkpoint_every: int = setting(10, between(0))  # rounds; 0: never; with mechanisms every round
    evaluate_every: int = setting(1, between(1))
    figures: bool = setting(True)
