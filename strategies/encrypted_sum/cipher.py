"""Vectors of integers under a key that who adds them does not have. The cryptography is TenSEAL's.

BFV sums are exact. A number is written in digits of a base so small that no digit of a sum leaves
the ring of plaintexts; one ciphertext has place for 4096 digits. CKKS sums are approximate, on a
grid of 2⁻⁴⁰ of what they may be at most, and are rounded to integers.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce

import numpy as np
from numpy.typing import NDArray

from qmoe_fed.errors import UserError
from qmoe_fed.federated.hidden import Refused
from strategies.secure_sum.fixed_point import Block, columns

try:
    import tenseal
except ImportError as error:
    raise UserError(
        "mechanisms = 'encrypted-sum' needs TenSEAL, which is not installed: "
        "pip install 'qmoe-fed[he]'"
    ) from error

Integers = NDArray[np.int64]

MODULUS = 1032193  # t of BFV: a prime, 1 mod 2 · 4096, as its batches of 4096 need
_NOISE = 19  # a fresh ciphertext's noise is drawn from [-19, 19] (6 σ, σ = 3.2)


@dataclass(frozen=True)
class Scheme:
    """Parameters of 128 bits of security; SEAL refuses weaker ones when it makes a key.

    Attributes:
        exact: BFV; else CKKS.
        degree: N of the ring Z[X]/(X^N + 1).
        bits: Sizes of the primes whose product is the modulus; the last is for switching keys.
        scale: log₂ of the scale of CKKS.
    """

    exact: bool
    degree: int
    bits: tuple[int, ...]
    scale: int = 40

    @property
    def slots(self) -> int:
        """Numbers in a ciphertext."""
        return self.degree if self.exact else self.degree // 2


SCHEMES = {
    "bfv": Scheme(True, 4096, (54, 54)),
    "ckks": Scheme(False, 4096, (54, 54), 50),
    "ckks-8192": Scheme(False, 8192, (60, 40, 40, 60)),  # MQFL-FHE's (arXiv:2412.01858)
}


@dataclass(frozen=True)
class Cipher:
    """How the vectors of a sum are encrypted.

    Attributes:
        scheme: The scheme.
        blocks: What the vectors consist of.
        clients: How many may be added.

    Raises:
        UserError: So many cannot be added for sure.
    """

    scheme: Scheme
    blocks: tuple[Block, ...]
    clients: int

    def __post_init__(self) -> None:
        if (most := max(block.largest(self.clients) for block in self.blocks)) >= 2**62:
            raise UserError(f"encrypted-sum: sums up to {most:.3g} do not fit; take fewer bits")
        # what clients can add up to, at the very worst, against what can be decrypted
        noise = self.clients * _NOISE * (2 * self.scheme.degree + 1)
        room = 2 ** (self.scheme.bits[0] - 2) // MODULUS
        if self.scheme.exact and (self.base < 4 or noise >= room):
            raise UserError(
                f"encrypted-sum: the noise of {self.clients} ciphertexts may not fit; take "
                f"he-scheme = 'ckks', or have at most {room * self.clients // noise} clients"
            )

    @cached_property
    def base(self) -> int:
        """B, a power of two: digits lie in [-B/2, B/2), so sums of them in (-t/2, t/2)."""
        return 1 << ((MODULUS - 1) // self.clients).bit_length() - 1

    @cached_property
    def digits(self) -> NDArray[np.int64]:
        """Digits of each coordinate, ``(d,)``: as few as its largest value can be written in."""
        if not self.scheme.exact:
            return np.ones(sum(block.size for block in self.blocks), np.int64)

        def needed(block: Block) -> int:
            reach, count = 0, 0
            while reach < block.limit:
                reach, count = reach * self.base + self.base // 2 - 1, count + 1
            return count

        return np.repeat([needed(b) for b in self.blocks], [b.size for b in self.blocks])

    @property
    def ciphertexts(self) -> int:
        """How many a vector takes."""
        return math.ceil(self.digits.sum() / self.scheme.slots)

    @cached_property
    def bytes_up(self) -> int:
        """Bytes of a vector's ciphertexts; a thousandth more or less."""
        nothing = np.zeros(len(self.digits), np.int64)
        return sum(map(len, self.encrypt(new_key(self.scheme)[1], nothing)))

    def encrypt(self, key: bytes, integers: Integers) -> list[bytes]:
        """Return the ciphertexts of a client's vector ``(d,)``.

        Args:
            key: From ``new_key``.
            integers: As ``quantise`` makes them; ValueError if sums could overflow.
        """
        limits = columns(self.blocks, 1)
        if integers.shape != limits.shape or (np.abs(integers) > limits).any():
            raise ValueError("a client's integers are not what its blocks allow")
        context, slots = _context(key), self.scheme.slots
        make = tenseal.bfv_vector if self.scheme.exact else tenseal.ckks_vector
        share = integers / columns(self.blocks, self.clients)  # of what a sum may be at most
        numbers = (self.to_digits(integers) if self.scheme.exact else share).tolist()
        starts = range(0, len(numbers), slots)
        return [make(context, numbers[at : at + slots]).serialize() for at in starts]

    def to_digits(self, integers: Integers) -> Integers:
        """Return all lowest digits, then all second ones of the coordinates that have one, …"""
        half, rest, layers = self.base // 2, integers, []
        for place in range(self.digits.max()):
            digit = (rest + half) % self.base - half
            rest = (rest - digit) // self.base
            layers.append(digit[self.digits > place])
        return np.concatenate(layers)

    def from_digits(self, numbers: Integers) -> Integers:
        """Return the numbers ``(d,)`` of which these are the digits, or sums of them."""
        total = np.zeros(len(self.digits), np.int64)
        for place in range(self.digits.max()):
            there = self.digits > place
            layer, numbers = np.split(numbers, [there.sum()])
            total[there] += layer * self.base**place
        return total

    def add(self, vectors: Iterable[Sequence[bytes]]) -> list[bytes]:
        """Return the ciphertexts of the sum of at least one vector, which takes no key.

        Raises:
            Refused: They are not ciphertexts of such vectors.
        """
        context = _context(_keyless(self.scheme))
        read = (self._read(context, parts) for parts in vectors)
        total = reduce(lambda one, other: [*map(operator.add, one, other)], read)
        return [part.serialize() for part in total]

    def _read(self, context: tenseal.Context, parts: Sequence[bytes]) -> list[tenseal.BFVVector]:
        read = tenseal.bfv_vector_from if self.scheme.exact else tenseal.ckks_vector_from
        slots, length = self.scheme.slots, int(self.digits.sum())
        try:
            vectors = [read(context, raw) for raw in parts]
        except (ValueError, RuntimeError) as error:
            raise Refused(f"not a ciphertext of this run: {error}") from error
        expected = [min(slots, length - at) for at in range(0, length, slots)]
        if [vector.size() for vector in vectors] != expected:
            raise Refused(f"ciphertexts of other than {expected} numbers")
        return vectors

    def decrypt(self, key: bytes, parts: Sequence[bytes], count: int) -> Integers:
        """Return the sum ``(d,)`` of so many clients' vectors.

        Args:
            key: From ``new_key``, secret.
            parts: As ``add`` returned them.
            count: Of how many clients.

        Raises:
            Refused: It is more than they can have sent.
        """
        opened = [vector.decrypt() for vector in self._read(_context(key), parts)]
        numbers, limits = np.concatenate(opened), columns(self.blocks, count)
        if self.scheme.exact:
            total = self.from_digits(numbers)
        else:
            shares = np.clip(numbers, -2, 2)  # under another key they are anything
            total = np.rint(shares * columns(self.blocks, self.clients)).astype(np.int64)
            limits += limits >> 16  # an approximation may lie beyond what is approximated
        if (np.abs(total) > limits).any():
            raise Refused(f"{count} clients cannot have sent this sum")
        return total


def new_key(scheme: Scheme) -> tuple[bytes, bytes]:
    """Return a new secret key, with its public one, and the public one alone."""
    made = _made(scheme)
    return _serialized(made, secret=True), _serialized(made, secret=False)


def _made(scheme: Scheme) -> tenseal.Context:
    kind = tenseal.SCHEME_TYPE.BFV if scheme.exact else tenseal.SCHEME_TYPE.CKKS
    modulus = MODULUS if scheme.exact else -1
    made = tenseal.context(kind, scheme.degree, modulus, [*scheme.bits], n_threads=1)
    if not scheme.exact:
        made.global_scale = 2.0**scheme.scale
    return made


def _serialized(context: tenseal.Context, secret: bool, public: bool = True) -> bytes:
    raw: bytes = context.serialize(public, secret, False, False)
    return raw


@lru_cache(maxsize=4)
def _keyless(scheme: Scheme) -> bytes:
    return _serialized(_made(scheme), secret=False, public=False)


@lru_cache(maxsize=8)
def _context(key: bytes) -> tenseal.Context:
    return tenseal.context_from(key, n_threads=1)
