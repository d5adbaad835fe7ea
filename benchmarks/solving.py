"""What it costs to solve experts: steps against those by gradient, a fit against scikit-learn."""

from collections.abc import Callable, Iterator

import torch
from sklearn.linear_model import Ridge
from timing import Result, compare

from qmoe_fed.config import Config
from qmoe_fed.data import Samples, fit_projection, load_clients
from qmoe_fed.federated.model import Model
from qmoe_fed.learning import train
from qmoe_fed.learning.replicas import expand
from qmoe_fed.learning.solving import Solve
from qmoe_fed.models import Mixture, Parameters, build_model


def steps(clients: int, seconds: float) -> Iterator[Result]:
    """Time ten steps of clients on 32 samples each, by gradient, solved, and with a prior."""
    contenders = {
        "gradient": _trainer(clients, {"expert-fit": "gradient"}),
        "solved": _trainer(clients, {"expert-fit": "solve"}),
        "solved, prior": _trainer(clients, {"expert-fit": "solve", "share": "prior"}),
    }
    yield {"clients": clients, "steps": 10, **compare(contenders, seconds)}


def _trainer(clients: int, settings: dict[str, str]) -> Callable[[], object]:
    """Return what trains the clients of a run for ten steps."""
    size = {"num-clients": clients, "train-samples": 32, "batch-size": 32, "local-epochs": 10}
    config = Config.from_flat({**size, "weight-decay": 0.0, **settings})
    model, ids = Model(config), range(clients)
    data = load_clients(config, ids, fit_projection(config)).train
    start = model.replicas(model.initial_shared(), model.initial(model.local, ids), ids)
    task = model.task(model.names)
    return lambda: train(task, start, data, ids)


def fits(features: int, samples: int, clients: int, seconds: float) -> Iterator[Result]:
    """Time solving the experts of large clients against a ridge regression of scikit-learn's each.

    Both start from samples, run the router and see the same features φ(x).
    """
    torch.manual_seed(0)
    settings = Config.from_flat({"qubits": 8, "num-experts": 8, "router": "quantum"}).model
    module = build_model(settings, 8, 10, inputs=features)
    solve = Solve(8, features, 10)
    x = torch.cat(
        [3 * torch.rand(clients, samples, 8), torch.randn(clients, samples, features)], -1
    )
    y = torch.randint(10, (clients, samples))
    data = Samples(x, y, torch.full((clients,), samples))
    router = {n: p.detach() for n, p in module.named_parameters() if n.startswith("router.")}
    parameters = {**expand(router, clients), **solve.initial(clients)}

    def one_by_one() -> None:
        for row in range(clients):
            _ridge(module, parameters, x[row], y[row])

    contenders = {
        "qmoe_fed": lambda: solve.solved(module, parameters, data),
        "scikit-learn": one_by_one,
    }
    about = {"features": features, "samples": samples, "clients": clients}
    yield {**about, **compare(contenders, seconds, most=5)}


@torch.no_grad()
def _ridge(module: Mixture, parameters: Parameters, x: torch.Tensor, y: torch.Tensor) -> None:
    angles, inputs = module.parts(x)
    module.router.theta.copy_(parameters["router.theta"][0])
    wide = torch.cat([inputs, torch.ones(len(inputs), 1)], -1)
    phi = torch.einsum("bn,bw->bnw", module.router(angles), wide).flatten(1)
    Ridge(fit_intercept=False).fit(phi.numpy(), torch.nn.functional.one_hot(y, 10).numpy())
