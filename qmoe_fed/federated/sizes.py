"""The least memory that a run takes, so that what cannot work is refused before it begins.

All numbers are lower bounds, in bytes: what is refused could not have worked.
"""

from qmoe_fed.config import Config
from qmoe_fed.data import shape_of
from qmoe_fed.learning.trainer import CHUNK
from qmoe_fed.memory import check


def check_server(config: Config) -> None:
    """Refuse a model, scores and unseen clients' samples that do not fit into memory.

    Raises:
        UserError: So it is; the message says how much it would take.
    """
    federation, model, data = config.federation, config.model, config.data
    check(f"num-experts = {model.num_experts}, hidden-width = {model.hidden_width}", _size(config))
    check(f"num-clients = {federation.num_clients}", federation.num_clients * 8 * _scores(config))
    unseen, samples = federation.num_unseen_clients, data.train_samples + data.test_samples
    moons = data.dataset == "moons"
    told = f"num-unseen-clients = {unseen}, train-samples = {data.train_samples}"
    check(f"{told}, test-samples = {data.test_samples}", unseen * 8 * (2 * samples if moons else 1))


def check_host(config: Config, clients: int) -> None:
    """Refuse also so many clients on one host that they do not fit into its memory."""
    check_server(config)
    training, model, data = config.training, config.model, config.data
    moons = data.dataset == "moons"
    train, test = (data.train_samples, data.test_samples) if moons else (1, 1)
    told = f"num-clients = {config.federation.num_clients}, of which {clients} are here"
    samples = f"train-samples = {train}, test-samples = {test}, "
    check(samples * moons + told, clients * 16 * (train + test))
    rows = 1 if training.execution == "serial" else min(clients, CHUNK)
    epochs, later = training.local_epochs, config.unseen.unseen_epochs
    check(f"local-epochs = {epochs}", rows * epochs * train * 8)
    if config.federation.num_unseen_clients:
        check(f"unseen-epochs = {later}", later * config.unseen.sample_sizes[-1] * 8)
    if training.device != "cpu":
        return
    check(told, rows * _size(config))
    states = {"router": (1, model.qubits)}
    if "experts" in model.quantum:
        states["experts"] = model.num_experts, model.expert_circuit.qubits
    for part in () if model.noisy else model.quantum:
        count, qubits = states[part]
        about = f"qubits = {qubits}, batch-size = {training.batch_size}, {told}"
        check(about, 8 * rows * count * min(training.batch_size, train) * 2**qubits)


def _size(config: Config) -> int:
    """Return the bytes of a mixture's parameters, without those of a user's own modules."""
    model, shape = config.model, shape_of(config)
    linear = shape.classes * ((shape.inputs or shape.features) + 1)
    router = {"linear": model.num_experts * shape.features, "mlp": model.hidden_width}
    experts = model.num_experts * linear if model.expert == "linear" else 0
    return 4 * (experts + router.get(model.router, 0))


def _scores(config: Config) -> int:
    """Return how many metrics the server gets of a client."""
    return 5 + config.model.num_experts
