"""Property inference: what updates say about the labels of a client."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

FEW = 16
"""Up to so many numbers, their products are features too."""


def label_r2(seen: ArrayLike, shares: ArrayLike, folds: int = 5) -> float:
    """Return how much of clients' class shares their updates explain: R², at most 1.

    A ridge regression learns from clients whose shares the attacker knows and is tested on others;
    0 or less is no better than the mean of all.

    Args:
        seen: What is seen of each client, ``(C, F)`` or, of T rounds, ``(T, C, P)``.
        shares: Of each class among a client's samples, ``(C, classes)``.
        folds: Of the cross-validation over clients.
    """
    x, y = np.asarray(seen, np.float64), np.asarray(shares, np.float64)[:, 1:]
    if x.ndim == 3:
        x = x.transpose(1, 0, 2).reshape(len(y), -1)
    steps: list[object] = [PolynomialFeatures(2)] if x.shape[1] <= FEW else []
    attack = make_pipeline(
        StandardScaler(), *steps, StandardScaler(), RidgeCV(np.logspace(-3, 5, 9))
    )
    guessed = cross_val_predict(attack, x, y, cv=KFold(folds, shuffle=True, random_state=0))
    return float(r2_score(y, guessed.reshape(y.shape), multioutput="variance_weighted"))
