from dataclasses import replace

import pytest
import torch
from small_federation import SMALL

from qmoe_fed.config import Config
from qmoe_fed.data import fit_projection, load_clients
from qmoe_fed.federated import Federation, host
from qmoe_fed.federated.model import Model
from qmoe_fed.federated.training import train_clients

CLIENTS = [0, 1, 2]


@pytest.mark.parametrize("with_state", [False, True])
def test_a_client_whose_training_diverges_keeps_what_is_its_own(with_state):
    """Its update is not finite, so the server drops it; the next round starts from its old self."""
    config = Config.from_flat(SMALL)
    model = Model(config)
    data = load_clients(config, CLIENTS, fit_projection(config))
    shared = {name: values[0] for name, values in model.initial(model.shared, [0]).items()}
    local = model.initial(model.local, CLIENTS)
    sound = train_clients(model, data, shared, local, CLIENTS, 1)
    state = sound.state if with_state else None
    sound = train_clients(model, data, shared, sound.local, CLIENTS, 2, state)

    before = train_clients(model, data, shared, local, CLIENTS, 1).local
    x = data.train.x.clone()
    x[1] = torch.nan
    broken = replace(data, train=replace(data.train, x=x))
    update = train_clients(model, broken, shared, before, CLIENTS, 2, state)
    rows = model.layout.parameters(update.updates)
    assert not any(values[1].isfinite().all() for values in rows.values())
    for name, values in update.local.items():
        torch.testing.assert_close(values[1], before[name][1], rtol=0, atol=0)
        torch.testing.assert_close(values[[0, 2]], sound.local[name][[0, 2]])
    for name, values in update.state.items():
        old = state[name][1] if state else torch.zeros_like(values[1])
        torch.testing.assert_close(values[1], old, rtol=0, atol=0)
        torch.testing.assert_close(values[[0, 2]], sound.state[name][[0, 2]])


@pytest.mark.parametrize("fit", ["gradient", "solve"])
def test_clients_in_pieces_are_scored_as_all_at_once(monkeypatch, fit):
    settings = {**SMALL, "expert-fit": fit, "layers": "1..2", "num-clients": 7}
    federation = Federation(Config.from_flat(settings))
    state, _ = federation.round(federation.init())
    whole, experts = federation.score(state), federation.mixtures(state)
    monkeypatch.setattr(host, "CHUNK", 2)
    parts = federation.score(state)
    assert parts.clients.tolist() == [*range(7)]
    assert parts.columns.keys() == whole.columns.keys()
    for name, values in whole.columns.items():
        torch.testing.assert_close(parts.columns[name], values, msg=name)
    for name, values in federation.mixtures(state).items():
        torch.testing.assert_close(values, experts[name], msg=name)
