"""The mixture as scikit-learn estimators: of one client, and of many that share a router.

::

    from qmoe_fed import FederatedMixture, MixtureClassifier

    MixtureClassifier(router="quantum", num_experts=4).fit(X, y).predict(X)
    FederatedMixture(share="prior").fit(X, y, clients).predict(X, clients)

Both are federations (``qmoe_fed.Federation``) of the samples that ``fit`` is given; the first has
one client. What they take are settings of a run, by the same names and with the same defaults.
"""

from collections.abc import Callable
from dataclasses import Field, fields, make_dataclass, replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from torch import Tensor
from torch.func import functional_call

from qmoe_fed.config import Config, ModelConfig, StrategyConfig, TrainingConfig
from qmoe_fed.config.plugins import as_setting
from qmoe_fed.config.sections import PrivacyConfig
from qmoe_fed.config.settings import kebab
from qmoe_fed.data.table import Table
from qmoe_fed.errors import RunFailed, UserError
from qmoe_fed.federated import Federation
from qmoe_fed.federated.model import threads_as_before
from qmoe_fed.learning.devices import client_layers
from qmoe_fed.learning.replicas import row_of
from qmoe_fed.models import Parameters, build_model

Floats = NDArray[np.float64]
Labels = NDArray[Any]

_ALL = {item.name: item for section in vars(Config()).values() for item in fields(section)}
SINGLE = [*fields(ModelConfig), *fields(TrainingConfig), _ALL["features"]]
SINGLE += [_ALL["num_server_rounds"]]
FEDERATED = [_ALL["share"], _ALL["fraction_train"], _ALL["sampling"]]
FEDERATED += [item for item in fields(StrategyConfig) if not item.name.startswith("strategy")]
FEDERATED += [item for item in fields(PrivacyConfig) if item.name != "max_epsilon"]
"""Settings that estimators take."""


def _taking(settings: list[Field[Any]]) -> Any:
    """Return a class whose ``__init__`` takes settings by keyword, as scikit-learn wants it."""
    parameters = [(f.name, f.type, f.default) for f in settings]
    taken = [*parameters, ("random_state", Any, 0)]
    return make_dataclass("Settings", taken, kw_only=True, repr=False, eq=False)


class _Mixtures(ClassifierMixin, BaseEstimator):
    """Clients' mixtures, from samples to class probabilities; subclasses say whose samples."""

    def _fit(self, X: ArrayLike, y: ArrayLike, clients: ArrayLike | None) -> Self:
        given = self._given()
        Config.from_flat(given)  # what is wrong without any samples is refused before they are read
        x, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, classes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError(f"y has one class only, {self.classes_[0]}: expected at least two")
        owners = np.zeros(len(x), np.int64) if clients is None else column_or_1d(clients)
        check_consistent_length(x, owners)
        self.clients_, ids = np.unique(owners, return_inverse=True)
        most = self.features or self.qubits
        few = x.shape[1] <= most
        reduce = FunctionTransformer() if few else PCA(min(most, len(x)), svd_solver="full")
        self.angles_: Pipeline = make_pipeline(reduce, MinMaxScaler((0, np.pi), clip=True)).fit(x)
        angles = self.angles_.transform(x)
        table = Table(angles, classes, ids, np.zeros(len(x), np.bool_), "fit")
        own = {"dataset": table.name, "angles": f"bounds(0, {np.pi})", "features": angles.shape[1]}
        own |= {"classes": ",".join(table.labels), "num-clients": len(self.clients_)}
        self.config_ = Config.from_flat({**given, **own})
        self._train()
        return self

    def _given(self) -> dict[str, Any]:
        """Return the settings that do not depend on the samples."""
        given = self.get_params(deep=False)
        seed = given.pop("random_state")
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31)
        flat = {kebab(name): as_setting(value) for name, value in given.items()}
        return {**flat, "seed": int(seed), "engine": "local", "num-unseen-clients": 0}

    @threads_as_before()
    def _train(self) -> None:
        federation = Federation(self.config_)
        state, self.metrics_ = federation.init(), []
        for _ in range(self.config_.federation.num_server_rounds):
            state, report = federation.round(state)
            self.metrics_.append(dict(report.metrics))
        if not state.counted:
            reasons = [report.fault, *(rejection.reason for rejection in report.rejections)]
            told = next(filter(None, reasons), "the log says why")
            raise RunFailed(f"not one round of training counted: {told}")
        found = federation.mixtures(state).items()
        self.parameters_: Parameters = {name: values.cpu().double() for name, values in found}

    def _probabilities(self, X: ArrayLike, clients: ArrayLike | None) -> Floats:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        angles = torch.from_numpy(self.angles_.transform(x))
        answer = self._answers()
        if clients is None:
            return np.mean([answer(row, angles) for row in range(len(self.clients_))], 0)
        owners = column_or_1d(clients)
        check_consistent_length(x, owners)
        if len(strangers := np.setdiff1d(owners, self.clients_)):
            raise UserError(f"no client {strangers[0]}: fit was given no samples of it")
        rows = np.searchsorted(self.clients_, owners)
        found = np.empty((len(x), len(self.classes_)))
        for row in np.unique(rows):
            found[rows == row] = answer(int(row), angles[rows == row])
        return found

    def _labels(self, X: ArrayLike, clients: ArrayLike | None) -> Labels:
        best = self._probabilities(X, clients).argmax(1)
        return self.classes_[best]

    def _answers(self) -> Callable[[int, Tensor], Floats]:
        """Return what maps a client's row and angles ``(B, d)`` to probabilities ``(B, C)``."""
        config, sizes = self.config_, (self.config_.data.features, len(self.classes_))
        exact = replace(config.model, shots=0, shot_gradients="exact")
        layers = client_layers(config, range(len(self.clients_)))
        modules = {n: build_model(exact, *sizes, n).eval().double() for n in set(layers)}

        @torch.no_grad()
        def answer(row: int, angles: Tensor) -> Floats:
            own = row_of(self.parameters_, row)
            output: Tensor = functional_call(modules[layers[row]], own, angles)
            return output.softmax(-1).numpy()

        return answer


_Single: Any = _taking(SINGLE)
_Federated: Any = _taking(SINGLE + FEDERATED)


class MixtureClassifier(_Single, _Mixtures):
    """The mixture of one client that trains alone: the baseline of a federation.

    Features become angles by their range, or, if there are more than ``features`` (0: one per
    qubit), those of as many principal components; experts see these too. It is trained as the only
    client of a federation: ``num_server_rounds`` times ``local_epochs``.

    Args:
        random_state: The seed, a generator to draw it from, or None for another every time.

    The other arguments are settings of a run: those of the model and of training.

    Attributes:
        classes_: Labels, ``(C,)``, sorted.
        n_features_in_: Number D of features.
        config_: The settings of the federation.
        metrics_: What each round reported.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to samples ``(n, D)`` with labels ``(n,)``.

        Raises:
            UserError: A setting is wrong, or there is one class only.
        """
        return self._fit(X, y, None)

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Return class probabilities ``(n, C)`` of samples ``(n, D)``, in the order of classes_."""
        return self._probabilities(X, None)

    def predict(self, X: ArrayLike) -> Labels:
        """Return the most probable label of samples ``(n, D)``."""
        return self._labels(X, None)


class FederatedMixture(_Federated, _Mixtures):
    """Mixtures of many clients that share a router, and keep experts of their own.

    As ``MixtureClassifier``; further arguments are the settings of what is shared, of the strategy
    and of privacy. Ranges and components are those of all samples that ``fit`` is given: a
    federation would have to find them out.

    Attributes:
        clients_: Clients, ``(K,)``, sorted.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, clients: ArrayLike | None = None) -> Self:
        """Fit to samples ``(n, D)`` with labels ``(n,)``.

        Args:
            X: The samples of all clients.
            y: Their labels; a client need not have all classes.
            clients: Whose each sample is, ``(n,)``: numbers or names. None: one client's.

        Raises:
            UserError: A setting is wrong, or there is one class only.
            RunFailed: Not one round of training counted.
        """
        return self._fit(X, y, clients)

    def predict_proba(self, X: ArrayLike, clients: ArrayLike | None = None) -> Floats:
        """Return class probabilities ``(n, C)`` of samples ``(n, D)``, in the order of classes_.

        Args:
            X: The samples.
            clients: Whose mixture answers for each, ``(n,)``. None: the mean of all clients'.

        Raises:
            UserError: ``fit`` was not given samples of a client.
        """
        return self._probabilities(X, clients)

    def predict(self, X: ArrayLike, clients: ArrayLike | None = None) -> Labels:
        """Return the most probable label of samples ``(n, D)``; as ``predict_proba``."""
        return self._labels(X, clients)

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        clients: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the share of samples that ``predict`` gets right."""
        return float(accuracy_score(y, self.predict(X, clients), sample_weight=sample_weight))
