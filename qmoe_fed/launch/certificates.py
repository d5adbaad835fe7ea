"""Makes what a deployment needs to know who is who: certificates for TLS, keys of SuperNodes.

A certificate authority is made for the one certificate of the SuperLink, and its key is thrown
away: nobody can make another certificate that the hosts would believe.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from qmoe_fed.errors import UserError

HERE = ("localhost", "127.0.0.1", "::1")  # where the SuperLink's own processes reach it
OLDER = timedelta(hours=1)  # than now, for clocks that are late


def make_certificates(
    folder: Path, hosts: Sequence[str], supernodes: int, days: int = 365
) -> list[Path]:
    """Write certificates and keys into a new folder; return the files.

    ``ca.crt`` is for everybody; ``server.crt`` and ``server.key`` are the SuperLink's;
    ``node-i`` is the private key of SuperNode i and ``node-i.pub`` the public one. Private keys
    can be read by their owner alone.

    Args:
        folder: Is made.
        hosts: Names and addresses under which others reach the SuperLink, at least one.
        supernodes: Number of SuperNodes to make keys for.
        days: How long the certificates last.

    Raises:
        UserError: The folder is there already or cannot be made, or a host is no name.
    """
    names = [_name(host) for host in dict.fromkeys([*hosts, *HERE])]
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; name a new folder") from error
    authority, own = generate_private_key(SECP384R1()), generate_private_key(SECP384R1())
    ca = _certificate("qmoe-fed CA", authority.public_key(), None, authority, names, days)
    server = _certificate(hosts[0], own.public_key(), ca, authority, names, days)
    pem, plain = PrivateFormat.PKCS8, NoEncryption()
    files = {
        "ca.crt": ca.public_bytes(Encoding.PEM),
        "server.crt": server.public_bytes(Encoding.PEM),
        "server.key": own.private_bytes(Encoding.PEM, pem, plain),
    }
    for i in range(supernodes):
        key = generate_private_key(SECP384R1())
        files[f"node-{i}"] = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, plain)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        files[f"node-{i}.pub"] = public + b"\n"
    for name, content in files.items():
        open_to_all = name.endswith((".crt", ".pub"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(folder / name, flags, 0o644 if open_to_all else 0o600), "wb") as file:
            file.write(content)
    return [folder / name for name in files]


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not (host.isascii() and host.replace("-", "").replace(".", "").isalnum()):
            raise UserError(f"{host!r} is no name or address of a host") from None
        return x509.DNSName(host)


def _certificate(
    common_name: str,
    key: EllipticCurvePublicKey,
    issuer: x509.Certificate | None,
    authority: EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    days: int,
) -> x509.Certificate:
    """Return a certificate of the authority's: its own if there is no issuer, else a server's."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name[:64])])
    now, root = datetime.now(UTC), issuer is None
    parent = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    uses = x509.KeyUsage(digital_signature=not root, key_cert_sign=root, crl_sign=root, **usage)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - OLDER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=root, path_length=0 if root else None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(parent, False)
        .add_extension(uses, True)
    )
    if not root:
        server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(server, False)
    return builder.sign(authority, hashes.SHA384())
