"""Sums under a key that who adds them does not have."""

import sys

import numpy as np
import pytest
import tenseal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qmoe_fed.config.plugins import MECHANISMS, load_object
from qmoe_fed.errors import UserError
from qmoe_fed.federated.hidden import Refused
from strategies.encrypted_sum import cipher as module
from strategies.encrypted_sum.cipher import MODULUS, SCHEMES, Cipher, Scheme, new_key
from strategies.secure_sum.fixed_point import Block, columns

BLOCKS = (Block(3, 1.0), Block(1, 100.0))


def vectors(cipher, seed=0):
    """Return integers of all clients: the largest there may be, the smallest, and others."""
    limits, generator = columns(cipher.blocks, 1), np.random.default_rng(seed)
    others = generator.integers(-limits, limits + 1, (cipher.clients - 2, len(limits)))
    return np.vstack([limits, -limits, others])


@pytest.fixture(scope="module", params=SCHEMES)
def scheme(request):
    return SCHEMES[request.param]


@pytest.fixture(scope="module")
def pair(scheme):
    return new_key(scheme)


def test_a_sum_is_what_it_should_be(scheme, pair):
    cipher, (secret, public) = Cipher(scheme, BLOCKS, 5), pair
    rows = vectors(cipher)
    for chosen in (rows, rows[[0] * 5], rows[[1] * 5], rows[2:3]):
        added = cipher.add([cipher.encrypt(public, row) for row in chosen])
        total = cipher.decrypt(secret, added, len(chosen))
        error = np.abs(total - chosen.sum(0)).max()
        assert error == 0 if scheme.exact else error < 2**31 * 1e-6


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 20_000), st.floats(0.01, 1000.0), st.integers(1, 40))
def test_no_digit_of_a_sum_leaves_the_ring(clients, clip, bits):
    blocks = Block(2, clip, bits), Block(1, 1.0, 4)
    assume(blocks[0].largest(clients) < 2**62)  # else it is refused
    cipher = Cipher(SCHEMES["bfv"], blocks, clients)
    limits = columns(cipher.blocks, 1)
    for row in (limits, -limits, limits // 3):
        sums = clients * cipher.to_digits(row)
        assert 2 * np.abs(sums).max() < MODULUS
        assert cipher.from_digits(sums).tolist() == (clients * row).tolist()


def test_a_number_has_no_more_digits_than_it_needs():
    cipher = Cipher(SCHEMES["bfv"], (Block(2, 1.0), Block(1, 100.0)), 1000)
    assert cipher.base == 1024
    assert cipher.digits.tolist() == [3, 3, 4]
    assert cipher.ciphertexts == 1
    assert Cipher(SCHEMES["bfv"], (Block(1366, 1.0),), 1000).ciphertexts == 2
    assert Cipher(SCHEMES["ckks"], (Block(2049, 1.0),), 1000).ciphertexts == 2


def test_numbers_that_could_overflow_are_refused(scheme, pair):
    cipher = Cipher(scheme, BLOCKS, 5)
    with pytest.raises(ValueError, match="not what its blocks allow"):
        cipher.encrypt(pair[1], columns(BLOCKS, 1) + np.array([0, 0, 0, 1]))
    with pytest.raises(ValueError, match="not what its blocks allow"):
        cipher.encrypt(pair[1], columns(BLOCKS[:1], 1))
    with pytest.raises(UserError, match=r"noise of 30000 ciphertexts may not fit.*at most 28"):
        Cipher(SCHEMES["bfv"], BLOCKS, 30_000)


def test_less_than_128_bits_are_refused_when_a_key_is_made():
    with pytest.raises(ValueError, match=r"parameters are not valid|not set correctly"):
        new_key(Scheme(True, 2048, (54, 54)))
    with pytest.raises(ValueError, match=r"parameters are not valid|not set correctly"):
        new_key(Scheme(False, 4096, (60, 60)))


def test_adding_takes_no_key_and_opening_takes_the_right_one(scheme, pair):
    cipher = Cipher(scheme, BLOCKS, 3)
    keyless = tenseal.context_from(module._keyless(scheme))
    assert not keyless.has_public_key()
    assert not keyless.has_secret_key()
    assert not tenseal.context_from(pair[1]).has_secret_key()
    added = cipher.add([cipher.encrypt(pair[1], row) for row in vectors(cipher)])
    with pytest.raises(ValueError, match="secret"):
        cipher.decrypt(pair[1], added, 3)
    with pytest.raises(Refused, match="3 clients cannot have sent this sum"):
        cipher.decrypt(new_key(scheme)[0], added, 3)
    two = cipher.add([cipher.encrypt(pair[1], columns(BLOCKS, 1))] * 2)
    with pytest.raises(Refused, match="1 clients cannot have sent this sum"):
        cipher.decrypt(pair[0], two, 1)


def test_equal_vectors_have_different_ciphertexts(scheme, pair):
    cipher, row = Cipher(scheme, BLOCKS, 3), columns(BLOCKS, 1)
    assert cipher.encrypt(pair[1], row) != cipher.encrypt(pair[1], row)


def test_what_is_no_ciphertext_is_refused(scheme, pair):
    cipher = Cipher(scheme, BLOCKS, 3)
    row = columns(BLOCKS, 1)
    (good,) = cipher.encrypt(pair[1], row)
    longer = Cipher(scheme, (*BLOCKS, BLOCKS[1]), 3)
    foreign = next(other for other in SCHEMES.values() if other.degree != scheme.degree)
    bad = [b"", b"nothing", good[: len(good) // 2]]
    bad += Cipher(foreign, BLOCKS, 3).encrypt(new_key(foreign)[1], row)
    for part in bad:
        with pytest.raises(Refused, match=r"not a ciphertext of this run|of other than"):
            cipher.add([[good], [part]])
    for parts in ([], [good, good], longer.encrypt(pair[1], columns(longer.blocks, 1))):
        with pytest.raises(Refused, match="of other than"):
            cipher.add([[good], parts])


def test_without_tenseal_a_run_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("strategies.encrypted_sum")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tenseal", None)
    with pytest.raises(UserError, match=r"needs TenSEAL.*pip install 'qmoe-fed\[he\]'"):
        load_object(MECHANISMS["encrypted-sum"], "mechanism")
