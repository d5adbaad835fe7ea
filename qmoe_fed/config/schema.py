"""The configuration of a run: one dataclass tree, checked when it is built."""

from dataclasses import dataclass, field

from qmoe_fed.config import sections
from qmoe_fed.config.model import ModelConfig
from qmoe_fed.config.settings import Tree
from qmoe_fed.errors import UserError


@dataclass(frozen=True)
class Config(Tree):
    """Everything a run depends on.

    Raises:
        UserError: Settings of different sections cannot go together.
    """

    federation: sections.FederationConfig = field(default_factory=sections.FederationConfig)
    data: sections.DataConfig = field(default_factory=sections.DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: sections.TrainingConfig = field(default_factory=sections.TrainingConfig)
    strategy: sections.StrategyConfig = field(default_factory=sections.StrategyConfig)
    privacy: sections.PrivacyConfig = field(default_factory=sections.PrivacyConfig)
    unseen: sections.UnseenConfig = field(default_factory=sections.UnseenConfig)
    results: sections.ResultsConfig = field(default_factory=sections.ResultsConfig)

    def __post_init__(self) -> None:
        data, model, qubits = self.data, self.model, self.model.qubits
        moons, largest = data.dataset == "moons", max(self.unseen.sample_sizes)
        if self.federation.fraction_train == 0:
            raise UserError("fraction-train = 0: no client would ever train")
        if model.router == "quantum" and data.features + model.calibration > qubits:
            raise UserError(
                f"features = {data.features}: qubits = {qubits} can hold at most one feature each; "
                "use more qubits or fewer features"
            )
        if model.router == "quantum" and moons and qubits < 2:
            raise UserError("qubits = 1: Two Moons has 2 features, one qubit each; use qubits >= 2")
        if moons and self.federation.num_unseen_clients and largest > data.train_samples:
            raise UserError(
                f"unseen-samples asks for {largest} labelled samples, but a client has "
                f"train-samples = {data.train_samples}"
            )
        if model.circuit_engine != "statevector" and self.training.execution == "vmap":
            raise UserError(
                f"circuit-engine = {model.circuit_engine!r} cannot run in execution = 'vmap'; "
                "set execution = 'serial'"
            )
        self._check_solve()
        if model.noise_drift and self.training.expert_fit == "solve":
            raise UserError(
                "noise-drift needs expert-fit = 'gradient': solved experts are made for devices "
                "that stay as they are"
            )
        plain = (self.strategy.strategy, self.strategy.aggregator) == ("router", "mean")
        if len(model.depths) > 1 and not plain:
            raise UserError(
                f"layers = {model.layers!r}: clients that train different layers need strategy = "
                "'router' and aggregator = 'mean'"
            )

    def _check_solve(self) -> None:
        """Refuse what cannot be solved, or cannot be shared."""
        share, solved = self.federation.share, self.training.expert_fit == "solve"
        if solved and self.model.expert != "linear":
            raise UserError(
                f"expert-fit = 'solve' with expert = {self.model.expert!r}: only linear experts "
                "have a solution in closed form; use expert = 'linear' or expert-fit = 'gradient'"
            )
        if solved and share in ("experts", "all"):
            raise UserError(
                f"expert-fit = 'solve' with share = {share!r}: solved experts are made anew from a "
                "client's own samples and never travel; share 'router', 'prior' or 'none', or set "
                "expert-fit = 'gradient'"
            )
        if share == "prior" and not solved:
            raise UserError("share = 'prior' needs expert-fit = 'solve': a prior is solved towards")
        if self.unseen.sample_sizes[0] == 0 and share not in ("prior", "all"):
            raise UserError(
                f"unseen-samples = {self.unseen.unseen_samples!r} with share = {share!r}: clients "
                "without any samples need experts from others; share 'prior' or 'all'"
            )
