"""What files of a run must hold, so that nothing that reads them later can fail.

A form is a type, where ``Real`` is any finite number, and ``float`` that or null; a list of forms,
or of one for all there are; an object of forms by key, where ``key?`` may be missing and ``*`` is
for all other keys.
"""

import math
from collections.abc import Collection, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from qmoe_fed.errors import UserError

Form: TypeAlias = "type | list[Form] | Mapping[str, Form]"

PACKAGES = ("flwr", "torch", "pennylane", "numpy", "scikit-learn", "qmoe-fed")
SCORES: Form = {"mean": float, "worst10": float, "deciles": [float] * 11}
ABOUT: Form = {
    **dict.fromkeys(("app", "started", "python"), str),
    "settings": {"num-server-rounds": int},
    "versions": dict.fromkeys(PACKAGES, str),
}
ROUND: Form = {
    "round": int,
    "seconds": Real,
    "train?": {"epsilon?": float},
    "rejections?": [{"client": int, "reason": str}],
    "accuracy?": SCORES,
    "loss?": SCORES,
}
ENDED = {"status": str, "reason": str, "rounds": int}
_COUNTS = "rounds_counted clients clients_scored unseen_clients seed router_parameters"
_NUMBERS = """accuracy_mean accuracy_std accuracy_worst10 routing_entropy epsilon delta
routing_client_information routing_class_information routing_dead_experts unseen_accuracy_shared
unseen_accuracy_scratch unseen_accuracy_random"""
SUMMARY: Mapping[str, Form] = {
    **ENDED,
    **dict.fromkeys(_COUNTS.split(), int),
    **dict.fromkeys(_NUMBERS.split(), float),
    **dict.fromkeys(("wall_seconds", "bytes_up_per_client_round"), Real),
    "share": str,
    "unseen": {"*": {"*": {"mean": float}}},
    "hosts_missing?": [int],
    "unseen_clients_scored?": int,
}
CHECKPOINT: Form = {
    **dict.fromkeys(("round", "counted"), int),
    **{"folders": [str], "rounds": [int]},
    **{"folder": str, "record": {"round": int}, "columns": [str]},
    **{"strategy": {"*": Real}, "seconds": Real},
}
SPENT: Mapping[str, Form] = {"delta": Real, "noise_source": str}
_WORDS = {dict: "an object", int: "a whole number", float: "a number or null", str: "text"}
_WORDS |= {Real: "a number"}


def damaged(file: Path, why: object) -> UserError:
    """Return the error for a file of a run that does not hold what a run wrote there."""
    return UserError(f"{file} is damaged: {why}; restore the file, or run it anew")


def check(value: object, form: Form, where: str = "it") -> None:
    """Check that what a JSON file holds has a form; ValueError if not."""
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is {ascii(value)[:80]} where an object should be")
        for key, own in form.items():
            name = key.removesuffix("?")
            if name in value:
                check(value[name], own, name)
            elif name == key != "*":
                raise ValueError(f"{where} lacks {key!r}")
        for other in (value.keys() - form.keys()) if "*" in form else ():
            check(value[other], form["*"], f"{other[:40]!r}")
    elif isinstance(form, list):
        if not isinstance(value, list) or len(form) not in (1, len(value)):
            raise ValueError(f"{where} is {ascii(value)[:80]} where a list should be")
        kind = form[0]  # of numbers there may be millions: no more calls than needed
        for part in value:
            if not (isinstance(kind, type) and _has(part, kind)):
                check(part, kind, f"an entry of {where}")
    elif not _has(value, form):
        raise ValueError(f"{where} is {ascii(value)[:80]}, expected {_WORDS[form]}")


def _has(value: object, kind: type) -> bool:
    if type(value) is int:
        return kind in (int, float, Real) and abs(value) < 2**63
    if kind in (float, Real):
        is_number = type(value) is float and math.isfinite(value)
        return is_number or (value is None and kind is float)
    if isinstance(value, str):
        value.encode()  # a UnicodeError is a ValueError
    return type(value) is kind


def check_columns(
    file: Path, table: Mapping[str, list[Any]], names: Collection[str], clients: range
) -> None:
    """Check that a table has columns by client, each of these clients at most once."""
    try:
        check(table, {"client": [int], **{name: [float] for name in names}, "*": [float]})
    except ValueError as error:
        raise damaged(file, error) from error
    ids = table["client"]
    if any(len(column) != len(ids) for column in table.values()):
        raise damaged(file, f"its columns differ in length, {len(ids)} clients are named")
    if len({*ids}) < len(ids) or any(client not in clients for client in ids):
        told = f"expected each client once, of {clients.start} to {clients.stop - 1}"
        raise damaged(file, told)


def check_clients(file: Path, tensors: Mapping[str, Tensor], total: int) -> tuple[int, ...]:
    """Check that ``clients`` says whose rows tensors have, of so many; return its shape."""
    ids = tensors.get("clients", torch.zeros(0))
    inside = ids.dtype == torch.int64 and bool(((ids >= 0) & (ids < total)).all())
    if ids.dim() != 1 or not inside or len(ids.unique()) < len(ids):
        raise damaged(file, f"'clients' must be different numbers from 0 to {total - 1}")
    return tuple(ids.shape)


def check_tensors(
    file: Path,
    tensors: Mapping[str, Tensor],
    like: Mapping[str, Tensor],
    rows: tuple[int, ...] = (),
) -> None:
    """Check that tensors are like others in shape and type; that all have so many rows, if any."""
    for name, due in like.items():
        found, shape = tensors.get(name), (*rows, *due.shape)
        if found is None or (found.shape, found.dtype) != (shape, due.dtype):
            has = "is missing" if found is None else f"is {found.dtype} {tuple(found.shape)}"
            raise damaged(file, f"{name!r} {has}, expected {due.dtype} {shape}")
    if strange := [name for name, own in tensors.items() if own.shape[: len(rows)] != rows]:
        raise damaged(file, f"{strange[0]!r} has not one row for each of {rows[0]} clients")
