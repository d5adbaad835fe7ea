"""The configuration of a run: one dataclass tree, checked when it is built.

Every setting has one flat kebab-case name (``num-clients``), the same in a TOML file, in
``flwr run --run-config`` and in the ``config.json`` beside a result. The sections group them for
the code that reads them; they are not part of the name.
"""

from dataclasses import dataclass, field

from qmoe_fed.config.settings import (
    Section,
    Spread,
    Tree,
    between,
    depths,
    device,
    layer_counts,
    named,
    one_of,
    positive,
    probability,
    setting,
)
from qmoe_fed.errors import UserError, unknown


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


_MOONS_PARTITIONS = ("iid", "dirichlet", "concept-shift", "rotation")
_IMAGE_PARTITIONS = (
    "iid",
    "dirichlet",
    "concept-shift",
    "pathological",
    "shard",
    "inner-dirichlet",
)


@dataclass(frozen=True)
class DataConfig(Section):
    """What each client holds."""

    dataset: str = setting("moons", one_of("moons", "digits", "mnist", "fashion-mnist"))
    partition: str = setting("dirichlet", one_of(*_MOONS_PARTITIONS, *_IMAGE_PARTITIONS))
    dirichlet_alpha: float = setting(3.0, positive)
    train_samples: int = setting(64, between(1))  # per client; moons only
    test_samples: int = setting(64, between(1))  # per client; moons only
    noise: float = setting(0.1, between(0))  # standard deviation; moons only
    test_fraction: float = setting(0.25, between(0.01, 0.99))  # of each client's share; images
    max_train_samples: int = setting(0, between(0))  # per client; 0: its whole share; images
    public_samples: int = setting(200, between(2))  # fits the projection; images
    features: int = setting(0, between(0))  # 0: one per qubit; images
    classes: str = setting("all")  # or those in use, e.g. "0,1"; images
    classes_per_client: int = setting(2, between(1))  # pathological; shards of one class: shard
    concept_groups: int = setting(2, between(2))  # clients that name classes alike; concept-shift

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            labels = self.labels
        except ValueError:
            labels = ()
        if len(labels) < 2 or len(set(labels)) < len(labels) or not set(labels) <= set(range(10)):
            raise UserError(
                f"classes = {self.classes!r}: expected 'all' or at least two different labels from "
                "0 to 9 separated by commas, e.g. '0,1'"
            )

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels in use, in the order in which they are numbered as classes 0, 1, …"""
        if self.dataset == "moons":
            return (0, 1)
        if self.classes == "all":
            return tuple(range(10))
        return tuple(int(part) for part in self.classes.split(","))


CHANNELS = ("depolarizing", "amplitude-damping", "phase-damping", "bit-flip")


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
    layers: int | str = setting(3, layer_counts)  # or of each client, e.g. "1..3"
    embedding: str = setting("ry", one_of("ry", "rx"))
    entangler: str = setting("cz", one_of("cz", "none", "strongly-entangling"))
    reuploading: bool = setting(True)
    readout: str = setting("probs", one_of("probs", "expval-adapter"))
    init_angle: float = setting(3.141592653589793, positive)  # θ ~ U(-init, init)
    circuit_engine: str = setting("statevector")  # or pennylane:<device>
    noise_channel: str = setting("none", one_of("none", *CHANNELS))
    noise_strength: float | str = setting(0.0, probability)  # or of each client: "uniform(0, 0.05)"
    noise_placement: str = setting("gate", one_of("gate", "notebook"))
    readout_error: float | str = setting(0.0, probability)  # or of each client
    shots: int = setting(0, between(0))  # that a router's weights are estimated from; 0: exact
    shot_gradients: str = setting("exact", one_of("exact", "parameter-shift"))
    hidden_width: int = setting(16, between(1))  # of the mlp router
    top_k: int = setting(0, between(0))  # experts that a sample is sent to; 0: all

    def __post_init__(self) -> None:
        super().__post_init__()
        name, _, device = self.circuit_engine.partition(":")
        if self.circuit_engine != "statevector" and not (name == "pennylane" and device):
            raise unknown(
                "circuit-engine", self.circuit_engine, ["statevector", "pennylane:<device>"]
            )
        if (
            self.router == "quantum"
            and self.readout == "probs"
            and self.num_experts > 2**self.qubits
        ):
            raise UserError(
                f"num-experts = {self.num_experts}: {self.qubits} qubits have only "
                f"{2**self.qubits} basis states to read; use more qubits, fewer experts or "
                "readout = 'expval-adapter'"
            )
        if self.top_k > self.num_experts:
            raise UserError(f"top-k = {self.top_k}: num-experts = {self.num_experts} is the most")
        self._check_circuit()

    @property
    def depths(self) -> range:
        """The numbers of layers that clients have; the last is that of the shared router."""
        return depths(self.layers)

    @property
    def strengths(self) -> Spread:
        """Strengths of the noise channel among clients, in [0, 1]."""
        return Spread.of(self.noise_strength)

    @property
    def readout_errors(self) -> Spread:
        """Probabilities among clients that a measured bit is read wrongly, in [0, 1]."""
        return Spread.of(self.readout_error)

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
        if self.router != "quantum" and any(asked.values()):
            what = ", ".join(name for name, given in asked.items() if given)
            raise UserError(f"router = {self.router!r}: {what} needs router = 'quantum'")
        if self.strengths.high > 0 and self.noise_channel == "none":
            raise UserError(
                f"noise-strength = {self.noise_strength!r} needs a noise-channel: one of "
                f"{', '.join(CHANNELS)}"
            )
        if self.noisy and self.circuit_engine not in ("statevector", "pennylane:default.mixed"):
            raise UserError(
                f"circuit-engine = {self.circuit_engine!r} cannot simulate noise; use "
                "'statevector', or 'pennylane:default.mixed'"
            )
        if self.shot_gradients != "exact" and not self.shots:
            raise UserError(f"shot-gradients = {self.shot_gradients!r} needs shots above 0")
        shape = {"embedding": "ry", "entangler": "cz", "reuploading": True}
        ignored = [name for name, usual in shape.items() if getattr(self, name) != usual]
        if self.circuit != "layered" and ignored:
            raise UserError(
                f"circuit = {self.circuit!r} would ignore {', '.join(ignored)}: these describe "
                "circuit = 'layered'"
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
    device: str = setting("cpu", device)
    threads: int = setting(1, between(1))  # of torch on the cpu; more pay from ~10,000 clients on


@dataclass(frozen=True)
class StrategyConfig(Section):
    """What the server does with the clients' updates."""

    strategy: str = setting("router", named("router"))
    strategy_options: str = setting("")
    aggregator: str = setting("mean", named("mean", "median", "trimmed-mean", "krum"))
    weighting: str = setting("uniform", one_of("uniform", "examples"))
    trim_fraction: float = setting(0.1, between(0, 0.49))
    num_byzantine: int = setting(0, between(0))
    server_step: str = setting("plain", one_of("plain", "momentum", "adam"))
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

    unseen_samples: str = setting("4,8,16,32")
    unseen_epochs: int = setting(200, between(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            sizes = self.sample_sizes
        except ValueError:
            sizes = []
        if not sizes or min(sizes) < 1:
            raise UserError(
                f"unseen-samples = {self.unseen_samples!r}: expected positive whole numbers "
                "separated by commas, e.g. '4,8,16,32'"
            )

    @property
    def sample_sizes(self) -> list[int]:
        """The numbers of labelled samples to fit with, ascending."""
        return sorted({int(part) for part in self.unseen_samples.split(",")})


@dataclass(frozen=True)
class ResultsConfig(Section):
    """Where results go and what is drawn."""

    output_dir: str = setting("")
    data_dir: str = setting("")
    resume: bool = setting(False)  # go on with the run in output-dir, from its last checkpoint
    checkpoint_every: int = setting(10, between(0))  # rounds; 0: never; with mechanisms every round
    evaluate_every: int = setting(1, between(1))
    figures: bool = setting(True)


@dataclass(frozen=True)
class Config(Tree):
    """Everything a run depends on."""

    federation: FederationConfig = field(default_factory=FederationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    unseen: UnseenConfig = field(default_factory=UnseenConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)

    def __post_init__(self) -> None:
        _check_combinations(self)


def _check_combinations(config: Config) -> None:
    federation, data, model = config.federation, config.data, config.model
    _check_data(data)
    if model.router == "quantum" and data.features > model.qubits:
        raise UserError(
            f"features = {data.features}: qubits = {model.qubits} can hold at most one feature "
            "each; use more qubits or fewer features"
        )
    if data.dataset == "moons" and model.router == "quantum" and model.qubits < 2:
        raise UserError("qubits = 1: Two Moons has 2 features, one qubit each; use qubits >= 2")
    if federation.num_unseen_clients and data.dataset == "moons":
        largest = max(config.unseen.sample_sizes)
        if largest > data.train_samples:
            raise UserError(
                f"unseen-samples asks for {largest} labelled samples, but a client has "
                f"train-samples = {data.train_samples}"
            )
    if federation.fraction_train == 0:
        raise UserError("fraction-train = 0: no client would ever train")
    if model.circuit_engine != "statevector" and config.training.execution == "vmap":
        raise UserError(
            f"circuit-engine = {model.circuit_engine!r} cannot run in execution = 'vmap'; "
            "set execution = 'serial'"
        )
    if len(model.depths) > 1 and (config.strategy.strategy, config.strategy.aggregator) != (
        "router",
        "mean",
    ):
        raise UserError(
            f"layers = {model.layers!r}: clients that train different layers need strategy = "
            "'router' and aggregator = 'mean'"
        )


def _check_data(data: DataConfig) -> None:
    moons = data.dataset == "moons"
    allowed = _MOONS_PARTITIONS if moons else _IMAGE_PARTITIONS
    if data.partition not in allowed:
        raise UserError(
            f"partition = {data.partition!r} is not for dataset = {data.dataset!r}; allowed "
            f"there: {', '.join(allowed)}"
        )
    if moons and (data.classes != "all" or data.features):
        raise UserError("classes and features are for images; Two Moons has 2 classes, 2 features")
    if data.partition == "concept-shift" and data.concept_groups > len(data.labels):
        raise UserError(
            f"concept-groups = {data.concept_groups}: {len(data.labels)} classes can be renamed "
            f"in {len(data.labels)} ways that differ on every sample; use at most so many groups"
        )
    if data.partition == "pathological" and data.classes_per_client > len(data.labels):
        raise UserError(
            f"classes-per-client = {data.classes_per_client}: there are only {len(data.labels)} "
            "classes"
        )
