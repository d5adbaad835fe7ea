"""The sections of a run's settings: their defaults, and what each value may be.

Every setting has one flat kebab-case name (``num-clients``), the same in a TOML file, in ``flwr run
--run-config`` and in ``config.json``. The sections group them for the code; no name has them in it.
"""

from dataclasses import dataclass

from qmoe_fed.config import values
from qmoe_fed.config.plugins import AGGREGATORS, SERVER_STEPS
from qmoe_fed.config.settings import Section, between, named, one_of, positive, readable, setting
from qmoe_fed.errors import UserError

MOONS_PARTITIONS = ("iid", "dirichlet", "concept-shift", "rotation")
IMAGE_PARTITIONS = (*MOONS_PARTITIONS[:3], "pathological", "shard", "inner-dirichlet")
FLOWERS = "flwr:"
"""How the name of a partitioner of flwr-datasets begins."""

_threads = between(1, 1024)
_device = readable(values.device, "'cpu', 'cuda', or one of several GPUs, e.g. 'cuda:1'")
_classes = readable(values.labels, "'all' or at least two different labels from 0 to 9, e.g. '0,1'")
_own_classes = readable(values.names, "'all' or at least two different labels, e.g. 'cat,dog'")
_angles = readable(
    values.box,
    "'auto', 'bounds', 'bounds(low, high)', 'standardised', 'pca' or an import path "
    "'package.module:function'",
)
_sizes = readable(values.sizes, "whole numbers with commas between, e.g. '4,8,16,32'")
_inputs = readable(values.inputs, "'router', 'all', 'standardised', or a number of components")


def _dataset(key: str, value: str) -> None:
    if ":" not in value and not value.endswith(values.FILES):
        hint = "Or files, an import path, 'hf:<name>', 'sklearn:<name>': see docs/data.md."
        one_of(*values.BUILT_IN, hint=hint)(key, value)


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
    share: str = setting("router", one_of("router", "prior", "experts", "all", "none"))
    supernode_timeout: float = setting(60.0, positive)  # seconds
    round_timeout: float = setting(600.0, positive)  # seconds

    @property
    def unseen_clients(self) -> range:
        """Ids of the clients that never train: they follow those that do."""
        return range(self.num_clients, self.num_clients + self.num_unseen_clients)


@dataclass(frozen=True)
class DataConfig(Section):
    """What each client holds."""

    dataset: str = setting("moons", _dataset)  # or your own: files, import path, hf:…, sklearn:…
    label_column: str = setting("label")  # of tables and of hf:…
    partition: str = setting("dirichlet")  # or flwr:<partitioner>; not where data name their client
    partition_options: str = setting("")  # of flwr:<partitioner>
    dirichlet_alpha: float = setting(3.0, positive)
    train_samples: int = setting(64, between(1))  # per client; moons only
    test_samples: int = setting(64, between(1))  # per client; moons only
    noise: float = setting(0.1, between(0))  # standard deviation; moons only
    test_fraction: float = setting(0.25, between(0.01, 0.99))  # of each client's share; images
    max_train_samples: int = setting(0, between(0))  # per client; 0: its whole share; images
    public_samples: int = setting(200, between(2))  # fits the projection; images
    features: int = setting(0, between(0))  # 0: one per qubit; images
    angles: str = setting("auto", _angles)  # how features become angles; your own data
    expert_features: int | str = setting("router", _inputs)  # that experts see; others: images
    classes: str = setting("all")  # or those in use, e.g. "0,1"; images
    classes_per_client: int = setting(2, between(1))  # pathological; shards of one class: shard
    concept_groups: int = setting(2, between(2))  # clients that name classes alike; concept-shift

    def __post_init__(self) -> None:
        super().__post_init__()
        moons = self.dataset == "moons"
        (_own_classes if self.own else _classes)("classes", self.classes)
        classes = len(self.labels) or 2**63  # as many as the data have
        allowed = MOONS_PARTITIONS if moons else IMAGE_PARTITIONS
        one_of(*MOONS_PARTITIONS, *IMAGE_PARTITIONS, other=FLOWERS)("partition", self.partition)
        if self.partition not in allowed and (moons or not self.partition.startswith(FLOWERS)):
            raise UserError(
                f"partition = {self.partition!r} is not for dataset = {self.dataset!r}; allowed "
                f"there: {', '.join(allowed)}"
            )
        if moons and (self.classes != "all" or self.features):
            raise UserError("classes and features are for images; Two Moons has 2 of each")
        if self.partition_options and not self.partition.startswith(FLOWERS):
            raise UserError("partition-options need partition = 'flwr:<partitioner>'")
        if not self.own and (self.angles, self.label_column) != ("auto", "label"):
            raise UserError(f"angles and label-column are for your own data, not {self.dataset!r}")
        if moons and self.expert_features != "router":
            raise UserError(
                f"expert-features = {self.expert_features!r}: on Two Moons the router sees both "
                "features already; use 'router'"
            )
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
    def own(self) -> bool:
        """Whether the data are none of those that are built in."""
        return self.dataset not in values.BUILT_IN

    @property
    def labels(self) -> tuple[int | str, ...]:
        """The labels in use, in the order in which they are numbered as classes 0, 1, …

        None are known yet where ``classes = "all"`` of a user's own data.
        """
        if self.own:
            return values.names(self.classes)
        return (0, 1) if self.dataset == "moons" else values.labels(self.classes)


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
    expert_fit: str = setting("solve", one_of("solve", "gradient"))
    support: float = setting(0.75, between(0.01, 0.99))  # largest share of a step; solve only
    ridge: float = setting(1.0, positive)  # λ for 8 samples, at the start; solve only
    freeze: str = setting("none", one_of("none", "router"))  # stays as it starts, alike for all
    execution: str = setting("vmap", one_of("vmap", "serial"))
    device: str = setting("cpu", _device)
    threads: int = setting(1, _threads)  # of free cores that share clients out: from ~1,000 on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expert_fit == "gradient" and (self.support, self.ridge) != (0.75, 1.0):
            raise UserError("support and ridge need expert-fit = 'solve': they say how it is done")


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
    max_update_norm: float = setting(0.0, between(0))  # 0: 100, or 10 √P for many numbers
    max_weight: float = setting(1e6, between(1))


@dataclass(frozen=True)
class PrivacyConfig(Section):
    """The chain of privacy mechanisms, applied left to right."""

    mechanisms: str = setting("")  # comma separated names or import paths
    mechanism_options: str = setting("")
    clip: str = setting("fixed", one_of("fixed", "adaptive"))
    clip_norm: float = setting(1.0, positive)  # the first, if adaptive
    clip_quantile: float = setting(0.5, between(0.01, 0.99))  # not to be clipped; adaptive only
    noise_multiplier: float = setting(1.0, positive)
    score_noise: float = setting(4.0, between(0.01))  # over noise-multiplier; distributed-dp
    noise_source: str = setting("system", one_of("system", "seed"))  # seed: for experiments only
    delta: float = setting(1e-5, between(1e-15, 0.5))
    max_epsilon: float = setting(0.0, between(0))  # 0: no budget
    corrupt_fraction: float = setting(0.1, between(0, 0.5))  # of all clients; hidden sums
    dropout_fraction: float = setting(0.1, between(0, 0.9))  # of a round's clients; hidden sums
    malicious_server: bool = setting(False)  # it may lie, not only look; secure-sum
    fixed_point_bits: int = setting(24, between(1, 50))  # behind the point; hidden sums
    he_scheme: str = setting("bfv", one_of("bfv", "ckks", "ckks-8192"))  # encrypted-sum
    key_client: int = setting(0, between(-1))  # can read all rows; -1: every client; encrypted-sum


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
    figures: bool = setting(True)  # and report.html
    log: str = setting("none", one_of("none", "tensorboard"))  # or tensorboard: event files
