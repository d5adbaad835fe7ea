"""Damaged replies of one host, of every kind: it is left out, or the run ends with one reason."""

import math
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from small_federation import SpyGrid, federate, outcome
from soaking import soak

from qmoe_fed.config import Config
from qmoe_fed.errors import RunFailed
from qmoe_fed.federated.flower.grid import FIRST_NODE
from qmoe_fed.federated.flower.messages import Unusable, read_replies, read_scores
from qmoe_fed.federated.flower.transport import _ranges
from qmoe_fed.federated.updates import Layout, Limits, check_rows

BAD, HOSTS = 1, 3
TINY = {"num_server_rounds": 2, "local_epochs": 1, "unseen_epochs": 1, "train_samples": 8}
TINY |= {"checkpoint_every": 1, "supernode_timeout": 2.0}
HIDDEN = {"num_clients": 12, "quorum": 0.0, "clip_norm": 0.5}
CHAINS = {
    "": {},
    "central-dp": {"quorum": 0.0, "noise_source": "seed"},
    "secure-sum": HIDDEN,
    "encrypted-sum": {**HIDDEN, "key_client": 0},
    "distributed-dp": HIDDEN,
}
WEIGHTS = (20, 4, 2, 1, 1)
KINDS = ("train", "evaluate", "evaluate.routing", "evaluate.unseen")
KINDS += ("query.join", "query.hidden", "query.checkpoint", "query.save")
NUMBERS = [0, -1, 2**62, 0.5, math.nan, math.inf, 1e300]
VALUES = [*NUMBERS, "", "näh", b"", bytes(99), True, [], [1], [0.5] * 9, ["a"], [b"x"], [math.nan]]

Damage = Callable[[Message, Message], list[Message]]


def test_damaged_replies_of_a_host(tmp_path: Path) -> None:
    def failing(reply: Message, message: Message) -> list[Message]:
        return [Message(Error(0, "out of order"), reply_to=message)]

    @cache
    def without(kind: str, chain: str) -> list[bytes]:
        """Return what is learned where the host is whole, and where all its replies are errors."""
        ways: list[Damage] = [lambda reply, message: [reply], failing]
        return [_learned(_run(tmp_path / "twin", kind, chain, way)) for way in ways]

    def case(draw: random.Random) -> str:
        seed, (chain,) = draw.random(), draw.choices([*CHAINS], WEIGHTS)
        kind = draw.choice([kind for kind in KINDS if chain or kind != "query.hidden"])

        def damage(reply: Message, message: Message) -> list[Message]:
            return _damage(reply, message, random.Random(seed))

        try:
            found = _run(tmp_path / "run", kind, chain, damage)
        except RunFailed as error:
            return "failed" if "\n" not in str(error) else f"more than one line: {error}"
        assert found["summary"]["status"] == "completed"
        out = [one["client"] for row in found["rounds"] for one in row.get("rejections", ())]
        if chain not in ("secure-sum", "encrypted-sum", "distributed-dp"):
            assert {client % HOSTS for client in out} <= {BAD}
            assert _learned(found) in without(kind, chain)
        assert all(np.isfinite(values).all() for values in found["shared"].values())
        return "done"

    assert soak(2, 2000, case)["done"]


def test_damaged_replies_are_read(tmp_path: Path) -> None:
    grid, _ = federate(tmp_path / "run", HOSTS, **TINY)
    honest = [
        (message, reply)
        for message, reply in zip(grid.sent, grid.received, strict=True)
        if message.metadata.message_type in ("train", "evaluate")
        and message.metadata.dst_node_id == FIRST_NODE + BAD
    ]
    config = Config.from_flat({})

    def case(draw: random.Random) -> str:
        message, reply = draw.choice(honest)
        asked = list(message.content["config"]["clients"])
        copied = RecordDict({k: type(own)(dict(own)) for k, own in reply.content.items()})
        replies = _damage(Message(copied, reply_to=message), message, draw)
        if "arrays" in reply.content:
            arrays = reply.content.array_records["arrays"]
            layout = Layout({name: tuple(array.shape)[1:] for name, array in arrays.items()})
            cohort, faults = read_replies(replies, {FIRST_NODE + BAD: asked}, layout)
            good, more = check_rows(cohort, Limits())
            assert {*good.clients} | {one.client for one in [*faults, *more]} >= {*asked}
            assert {*good.clients} <= {*asked}
            return "done" if good.clients == tuple(asked) else "refused"
        try:
            table, faults = read_scores(replies[0], asked, _ranges(config, "evaluate"))
        except (Unusable, IndexError):
            return "refused"
        assert all(values.isfinite().all() for values in table.values())
        return "refused" if faults else "done"

    assert soak(60, 10_000, case)["refused"] > 30


def _run(folder: Path, kind: str, chain: str, damage: Damage):
    """Run a federation in which one host's replies of a kind are damaged; return its outcome."""

    class Damaging(SpyGrid):
        def deliver(self, messages, timeout):
            answers = [[reply] for reply in super().deliver(messages, timeout)]
            for place, message in enumerate(messages):
                about = message.metadata
                if about.message_type == kind and about.dst_node_id == FIRST_NODE + BAD:
                    answers[place] = damage(*answers[place], message)
            return [reply for own in answers for reply in own]

    shutil.rmtree(folder, ignore_errors=True)
    federate(folder, HOSTS, Damaging, mechanisms=chain, **{**TINY, **CHAINS[chain]})
    return outcome(folder)


def _learned(found) -> bytes:
    return b"".join(values.tobytes() for values in found["shared"].values())


def _damage(reply: Message, message: Message, draw: random.Random) -> list[Message]:
    """Return what comes instead of a reply: what no honest host would send."""
    how, content = draw.random(), reply.content if reply.has_content() else RecordDict()
    if how < 0.05:
        return []
    if how < 0.1:
        return [Message(Error(draw.randrange(-1, 2000), "a\nb" * 999), reply_to=message)]
    if how < 0.15 or not content:
        return [reply, reply]
    name = draw.choice([*content])
    record = content[name]
    if how < 0.25:
        del content[name]
    elif how < 0.35:
        content[name] = draw.choice([ArrayRecord(), MetricRecord({"a": 1}), ConfigRecord()])
    elif how < 0.4:
        content["more"] = MetricRecord({"a": [1.0] * 10**5})
    elif record and how < 0.5:
        del record[draw.choice([*record])]
    elif record and isinstance(record, ArrayRecord):
        key = draw.choice([*record])
        record[key] = _odd_array(record[key], draw)
    else:
        values = [value for value in VALUES if _fits(record, value)]
        record[draw.choice([*record, "more"])] = draw.choice(values)
    return [Message(content, reply_to=message)]


def _fits(record: MetricRecord | ConfigRecord, value: object) -> bool:
    try:
        type(record)({"a": value})
    except TypeError:
        return False
    return True


def _odd_array(array: Array, draw: random.Random) -> Array:
    values = array.numpy()
    odd = [values[None], values[:0], values.ravel(), values.astype(complex), values.astype(str)]
    odd += [np.full_like(values, number) for number in (math.nan, math.inf, 1e30)]
    odd += [np.zeros((10**5, *values.shape[1:]), np.float32), values.astype(np.int8)]
    if (how := draw.randrange(len(odd) + 3)) < len(odd):
        return Array(odd[how])
    cut = draw.randrange(len(array.data))
    data = [array.data[:cut], draw.randbytes(cut), b"PK\3\4" + array.data][how - len(odd)]
    return Array(array.dtype, array.shape, array.stype, data)
