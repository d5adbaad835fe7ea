"""The configuration of a run: one dataclass tree, checked when it is built.

Every setting has one flat kebab-case name (``num-clients``), the same in a TOML file, in
``flwr run --run-config`` and in the ``config.json`` beside a result. The sections group them for
the code that reads them; they are not part of the name.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from qmoe_fed.errors import UserError, unknown

Scalar = bool | int | float | str


def _one_of(*allowed: str) -> Callable[[str, Any], None]:
    def check(key: str, value: Any) -> None:
        if value not in allowed:
            raise unknown(key, value, allowed)

    return check


def between(low: float, high: float = float("inf")) -> Callable[[str, Any], None]:
    """Return the check of a setting that its number is in [low, high]."""

    def check(key: str, value: Any) -> None:
        if not low <= value <= high:
            limit = f"at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}]"
            raise UserError(f"{key} = {value!r}: must be {limit}")

    return check


def positive(key: str, value: Any) -> None:
    """Check that the number of a setting is above 0 and finite."""
    if not 0 < value < float("inf"):
        raise UserError(f"{key} = {value!r}: must be a positive number")


def _named(*allowed: str) -> Callable[[str, Any], None]:
    """Check a name that may also be an import path ``package.module:attribute``."""

    def check(key: str, value: Any) -> None:
        if value not in allowed and ":" not in value:
            raise unknown(key, value, allowed, "Or an import path 'package.module:attribute'.")

    return check


def _device(key: str, value: Any) -> None:
    if value.partition(":")[0] not in ("cpu", "cuda"):
        raise unknown(key, value, ("cpu", "cuda"), "Or one of several GPUs, e.g. 'cuda:1'.")


def setting(default: Scalar, check: Callable[[str, Any], None] | None = None) -> Any:
    """Declare a setting with its default and the check its value must pass."""
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True)
class Section:
    """Settings that are checked for type and range on construction.

    Raises:
        UserError: A value has the wrong type or is out of range.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            key, value = kebab(item.name), getattr(self, item.name)
            expected = type(item.default)
            if expected is float and type(value) is int:
                object.__setattr__(self, item.name, float(value))
            elif type(value) is not expected:
                raise UserError(
                    f"{key} = {value!r}: expected {expected.__name__}, got {type(value).__name__}"
                )
            if check := item.metadata["check"]:
                check(key, getattr(self, item.name))


def kebab(name: str) -> str:
    """Return the setting name of a dataclass field: ``num_clients`` → ``num-clients``."""
    return name.replace("_", "-")


@dataclass(frozen=True)
class Tree:
    """Sections of settings under one flat namespace; a subclass has a section per field."""

    @classmethod
    def from_flat(cls, settings: Mapping[str, Any]) -> Self:
        """Build a config from flat kebab-case settings; what is not named keeps its default.

        Raises:
            UserError: A key is unknown, a value has the wrong type or is out of range, or two
                settings cannot go together.
        """
        sections = {item.name: item.default_factory for item in fields(cls)}
        homes = {
            kebab(item.name): name
            for name, section in sections.items()
            for item in fields(section)  # type: ignore[arg-type]
        }
        values: dict[str, dict[str, Any]] = {name: {} for name in sections}
        for key, value in settings.items():
            if key not in homes:
                raise unknown("setting", key, homes)
            values[homes[key]][key.replace("-", "_")] = value
        return cls(**{name: sections[name](**values[name]) for name in sections})  # type: ignore

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a TOML file of flat settings.

        Raises:
            UserError: The file cannot be read, is not TOML, or holds bad settings.
        """
        return cls.from_flat(read_toml(path))

    def to_flat(self) -> dict[str, Scalar]:
        """Return all settings under their flat names."""
        return {
            kebab(key): value for section in asdict(self).values() for key, value in section.items()
        }


@dataclass(frozen=True)
class FederationConfig(Section):
    """Who takes part, for how long, and what travels."""

    engine: str = setting("flower", _one_of("flower", "local"))
    seed: int = setting(0, between(0))
    num_clients: int = setting(50, between(1))
    num_unseen_clients: int = setting(50, between(0))
    num_server_rounds: int = setting(30, between(1))
    fraction_train: float = setting(1.0, between(0, 1))
    sampling: str = setting("fixed", _one_of("fixed", "poisson"))
    share: str = setting("router", _one_of("router", "experts", "all", "none"))
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

    dataset: str = setting("moons", _one_of("moons", "digits", "mnist", "fashion-mnist"))
    partition: str = setting("dirichlet", _one_of(*_MOONS_PARTITIONS, *_IMAGE_PARTITIONS))
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


@dataclass(frozen=True)
class ModelConfig(Section):
    """The mixture of experts each client trains."""

    router: str = setting("quantum", _named("linear", "mlp", "trig", "quantum"))
    router_options: str = setting("")
    num_experts: int = setting(4, between(1))
    expert: str = setting("linear", _named("linear"))
    expert_options: str = setting("")
    qubits: int = setting(2, between(1, 20))
    layers: int = setting(3, between(1))
    embedding: str = setting("ry", _one_of("ry", "rx"))
    entangler: str = setting("cz", _one_of("cz", "none", "strongly-entangling"))
    reuploading: bool = setting(True)
    readout: str = setting("probs", _one_of("probs", "expval-adapter"))
    init_angle: float = setting(3.141592653589793, positive)  # θ ~ U(-init, init)
    circuit_engine: str = setting("statevector")  # or pennylane:<device>
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


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How a client trains between two rounds."""

    local_epochs: int = setting(5, between(1))
    batch_size: int = setting(32, between(1))
    learning_rate: float = setting(0.05, positive)
    optimizer: str = setting("adam", _one_of("sgd", "momentum", "adam"))
    keep_optimizer_state: bool = setting(False)
    weight_decay: float = setting(0.0, between(0))  # of all parameters that are not angles
    proximal_mu: float = setting(0.0, between(0))  # pull of shared parameters to where they were
    load_balancing: float = setting(0.0, between(0))  # coefficient of Switch's auxiliary loss
    execution: str = setting("vmap", _one_of("vmap", "serial"))
    device: str = setting("cpu", _device)
    threads: int = setting(1, between(1))  # of torch on the cpu; more pay from ~10,000 clients on


@dataclass(frozen=True)
class StrategyConfig(Section):
    """What the server does with the clients' updates."""

    strategy: str = setting("router", _named("router"))
    strategy_options: str = setting("")
    aggregator: str = setting("mean", _named("mean", "median", "trimmed-mean", "krum"))
    weighting: str = setting("uniform", _one_of("uniform", "examples"))
    trim_fraction: float = setting(0.1, between(0, 0.49))
    num_byzantine: int = setting(0, between(0))
    server_step: str = setting("plain", _one_of("plain", "momentum", "adam"))
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
    unseen_epochs: int = setting(100, between(1))

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


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the settings in a TOML file.

    Raises:
        UserError: The file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read config file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"config file {path} is not valid TOML: {error}") from error


def parse_options(key: str, text: str) -> dict[str, Any]:
    """Return the keyword arguments in an options setting, e.g. ``"beta = 0.2, rounds = 3"``.

    Raises:
        UserError: The text is not the inside of a TOML inline table.
    """
    try:
        options: dict[str, Any] = tomllib.loads(f"options = {{ {text} }}")["options"]
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{key} = {text!r}: expected 'name = value, name = value' ({error})"
        ) from error
    return options


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
