"""How a router spreads the work over the experts.

Samples weigh the same within a client, and clients weigh the same. With w(x) the routing weights
of a sample x, expert e, class c and client k have the joint distribution

    p(e, c, k) = 1/K · mean over the samples x of client k of w_e(x)·[class of x is c].

Entropies and informations are in bits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from qmoe_fed.data import Samples
from qmoe_fed.learning.replicas import apply
from qmoe_fed.models import Mixture, Parameters

ROUTER = "router."

DEAD = 0.1
"""An expert is dead when its load is below this share of an equal load."""


@dataclass(frozen=True)
class Imbalance:
    """How uneven the use of the experts is, over all clients.

    Attributes:
        entropy: Mean over samples of H(w(x)) = -Σ_e w_e log₂ w_e, in [0, log₂ N]: 0 when every
            sample goes to one expert.
        client_information: I(E; K) = Σ p(e, k) log₂ p(e, k) / (p(e) p(k)): what the expert
            tells about the client.
        max_load: max_e p(e), in [1/N, 1].
        dead_experts: Number of experts with p(e) < 0.1 / N.
    """

    entropy: float
    client_information: float
    max_load: float
    dead_experts: int


def routing_weights(
    model: Mixture, parameters: Parameters, x: Tensor, execution: str = "vmap"
) -> Tensor:
    """Return the weights of each expert, ``(K, M, N)``, for x ``(K, M, d)``; as ``apply``."""
    router = {
        name.removeprefix(ROUTER): values
        for name, values in parameters.items()
        if name.startswith(ROUTER)
    }
    return apply(model.router, router, model.parts(x)[0], execution)


def load_by_class(weights: Tensor, samples: Samples, classes: int) -> Tensor:
    """Return p(e, c | k) of each client, ``(K, N, C)``, from weights ``(K, M, N)``."""
    member = one_hot(samples.y, classes) * samples.mask.unsqueeze(-1)
    counts = samples.counts.clamp(min=1)[:, None, None]
    return weights.mT @ member.to(weights) / counts


def mean_entropy(weights: Tensor, samples: Samples) -> Tensor:
    """Return the mean over samples of H(w(x)), ``(K,)``, from weights ``(K, M, N)``."""
    entropy = torch.special.entr(weights).sum(-1) * samples.mask
    return entropy.sum(1) / samples.counts.clamp(min=1) / torch.log(torch.tensor(2.0))


def mutual_information(joint: Tensor) -> float:
    """Return I(A; B) = Σ p(a, b) log₂ p(a, b) / (p(a) p(b)) of a joint distribution ``(A, B)``."""
    terms = [torch.special.entr(p).sum() for p in (joint.sum(0), joint.sum(1), joint)]
    return max(0.0, float(terms[0] + terms[1] - terms[2])) / float(torch.log(torch.tensor(2.0)))


def imbalance(load: Tensor, entropy: Tensor) -> Imbalance:
    """Sum up the load p(e | k) of the clients, ``(K, N)``, and their mean entropies ``(K,)``."""
    total = load.mean(0)
    return Imbalance(
        entropy=float(entropy.mean()),
        client_information=mutual_information(load / len(load)),
        max_load=float(total.max()),
        dead_experts=int((total < DEAD / len(total)).sum()),
    )


def balancing_loss(weights: Tensor, active: Tensor) -> Tensor:
    """Return how unevenly each replica uses its experts, ``(K,)``: 1 when equally, N when only one.

    N Σ_e f_e P_e with f_e the share of samples whose largest weight is on expert e and P_e its
    mean weight (Fedus, Zoph & Shazeer, "Switch Transformers", 2021, equations 4 to 6).

    Args:
        weights: Routing weights, ``(K, M, N)``.
        active: Which samples count, ``(K, M)``.
    """
    experts = weights.shape[-1]
    real = active.unsqueeze(-1)
    counts = active.sum(1, keepdim=True).clamp(min=1)
    chosen = (one_hot(weights.argmax(-1), experts) * real).sum(1) / counts
    mean = (weights * real).sum(1) / counts
    return experts * (chosen * mean).sum(1)
