"""What may be aggregated: every client's row is checked before it counts."""

from dataclasses import dataclass

import torch

from qmoe_fed.federated.updates import Cohort, Rejection


@dataclass(frozen=True)
class Limits:
    """What a client's row must stay within.

    Attributes:
        max_update_norm: Bound on the L2 norm of an update, over all shared parameters, before
            angles are taken in (-π, π].
        max_weight: Bound on the number of examples; the least is 1.
    """

    max_update_norm: float = 100.0
    max_weight: float = 1e6


def check_rows(cohort: Cohort, limits: Limits) -> tuple[Cohort, list[Rejection]]:
    """Return the clients whose rows are within the limits, and why the others are not."""
    norms = torch.linalg.vector_norm(cohort.updates, dim=1)
    examples = cohort.weights if cohort.weights.dim() == 1 else cohort.weights.amax(1)
    losses = cohort.losses
    checks = [
        (cohort.updates.isfinite().all(1), lambda row: "update is not finite"),
        (
            norms <= limits.max_update_norm,
            lambda row: (
                f"norm of the update is {norms[row]:.6g}, more than max-update-norm = "
                f"{limits.max_update_norm:g}"
            ),
        ),
        (
            (examples >= 1) & (examples <= limits.max_weight),
            lambda row: f"num-examples is {examples[row]:g}, not in [1, {limits.max_weight:g}]",
        ),
        (losses.isfinite(), lambda row: f"train-loss is {losses[row]:g}"),
    ]
    good, rejections = torch.ones(len(cohort.clients), dtype=torch.bool), []
    for passed, reason in checks:
        rejections += [
            Rejection(cohort.clients[row], reason(row))
            for row in (good & ~passed).nonzero().flatten().tolist()
        ]
        good &= passed
    return cohort if good.all() else cohort.select(good), rejections
