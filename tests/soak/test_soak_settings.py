"""Random settings, sensible, odd and of the wrong type: run, or refused in one line."""

import random
import shutil
from functools import cache
from pathlib import Path

import tomli_w
from soaking import soak
from tiny_runs import TINY, run_tiny

from qmoe_fed.config import Config
from qmoe_fed.config.settings import read_toml
from qmoe_fed.errors import UserError
from qmoe_fed.launch.app import parse_run_config

USUAL = Config().to_flat()
TEXT = """
linear mlp trig quantum none layered ry rx amplitude cz strongly-entangling probs expval-adapter
statevector pennylane:default.qubit pennylane: pennylane:nosuch depolarizing amplitude-damping
phase-damping bit-flip notebook gate readout richardson exponential seed device exact
parameter-shift spsa fixed poisson router prior experts all moons digits iid dirichlet
concept-shift rotation pathological shard inner-dirichlet flwr:IidPartitioner auto pca sgd
momentum adam solve gradient vmap serial cpu cuda cuda:1 mean median trimmed-mean krum uniform
examples plain central-dp local-dp secure-sum encrypted-sum distributed-dp central-dp,local-dp
adaptive system bfv ckks tensorboard os:getcwd os.path:join nosuch:Thing strategies:krum
torch.nn:Linear 0,1 4 0 -1 4,8 1..3 3..1 uniform(0,0.2) uniform(1,0) qubits=2 n=1 a.csv nosuch.npz
sklearn:wine sklearn:nosuch hf:nosuch/nosuch :: ~nosuch /dev/null flwr.serverapp.strategy:FedAvg
"""
WORDS = TEXT.split()
ODD = ["", " ", "\0", "ε\n", "\U0001f400", "'", '"', "a" * 10**4, "=", "beta = 0.5"]
NUMBERS = [0, 1, 2, 3, 4, 5, 8, 0.0, 1e-9, 0.01, 0.1, 0.5, 0.9, 1.0, 2.5, 100.0, 1e30, -1, -0.5]
HUGE = [2**62, -(2**63), 2**64, 10**30, 1e300, float("inf"), float("nan")]
WRONG = [None, [], [1], {}, {"a": 1}, b"x", 10**5000, 1j, True, False]
PATHS = ("data-dir", "output-dir", "resume", "engine", "device", "log")
ENDLESS = ("num-server-rounds", "threads", "supernode-timeout")  # do not grow them for a test


def test_random_settings_are_read_or_refused(tmp_path: Path) -> None:
    def case(draw: random.Random) -> str:
        how, keys = draw.random(), draw.choices([*USUAL, "nosuch", ""], k=draw.randrange(1, 6))
        settings = {key: _odd(draw, key, WRONG) for key in keys}
        if how < 0.2:  # as they come from the command line
            pairs = (f"{key}={draw.choice(['', _quote(value)])}" for key, value in settings.items())
            Config.from_flat(parse_run_config([draw.choice([" ", "  ", ","]).join(pairs)]))
        elif how < 0.3:
            text = tomli_w.dumps(USUAL).encode()
            place = draw.randrange(len(text))
            (tmp_path / "a.toml").write_bytes(text[:place] + draw.randbytes(3) + text[place:])
            Config.from_flat(read_toml(tmp_path / "a.toml"))
        else:
            Config.from_flat(settings)
        return "done"

    found = soak(500, 10_000, case)
    assert min(found.values()) > 10


def test_random_settings_are_run_or_refused(tmp_path: Path) -> None:
    def case(draw: random.Random) -> str:
        keys = draw.choices([key for key in USUAL if key not in PATHS], k=draw.randrange(1, 4))
        changes = {key: _odd(draw, key, [True]) for key in keys}
        if "hf:nosuch/nosuch" in changes.values():  # the hub's client tries again and says so
            return "done"
        if any(key in ENDLESS and isinstance(v, int) and v > 100 for key, v in changes.items()):
            return "done"
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return run_tiny(tmp_path / "run", **{**changes, "figures": draw.random() < 0.05})

    found = soak(8, 1000, case)
    assert found["done"]
    assert found["refused"]


def _odd(draw: random.Random, key: str, wrong: list[object]) -> object:
    """Return a value for a setting: mostly of its type, mostly small."""
    how, usual = draw.random(), USUAL.get(key, 0)
    if how < 0.05:
        return draw.choice(wrong)
    if how < 0.1:
        return draw.choice(HUGE[:3] if wrong == [True] else HUGE)
    if how < 0.15:
        return draw.choice([*WORDS, *ODD, *NUMBERS])
    if isinstance(usual, bool):
        return draw.random() < 0.5
    if isinstance(usual, str):
        return draw.choice(_words(key) if how < 0.9 else ODD)
    numbers = [number for number in NUMBERS if isinstance(number, type(usual))]
    return draw.choice(numbers)


def _quote(value: object) -> str:
    return "9" * 5000 if isinstance(value, int) and value > 2**64 else repr(value)[:100]


@cache
def _words(key: str) -> list[str]:
    """Return what may stand in a setting of text when all others are as usual."""
    return [word for word in WORDS if not _refused({**TINY, key: word})] or WORDS


def _refused(settings: dict[str, object]) -> bool:
    try:
        Config.from_flat(settings)
    except UserError:
        return True
    return False
