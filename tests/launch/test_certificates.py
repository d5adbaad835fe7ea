"""Certificates that TLS takes, and nobody else's; keys that Flower takes."""

import ssl

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from qmoe_fed.cli import main
from qmoe_fed.launch.certificates import make_certificates


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "keys"
    make_certificates(folder, ["link.example", "10.1.2.3"], 2)
    return folder


def shake_hands(keys, authority, host):
    """Let a client that believes an authority connect to a server of some name, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(keys / "server.crt", keys / "server.key")
    client = ssl.create_default_context(cafile=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    ]
    for end in [*ends[::-1], *ends[::-1]]:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[1].version()


@pytest.mark.parametrize("host", ["link.example", "10.1.2.3"])
def test_the_superlink_is_believed_under_its_names(keys, host):
    assert shake_hands(keys, keys / "ca.crt", host) == "TLSv1.3"


def test_no_other_name_and_no_other_authority_is_believed(keys, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(keys, keys / "ca.crt", "other.example")
    make_certificates(tmp_path / "other", ["link.example"], 1)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(keys, tmp_path / "other" / "ca.crt", "link.example")


def test_private_keys_are_for_their_owner_and_differ(keys):
    modes = {path.name: path.stat().st_mode & 0o777 for path in keys.iterdir()}
    private = {"server.key", "node-0", "node-1"}
    assert {name for name, mode in modes.items() if mode == 0o600} == private
    assert modes.keys() - private == {"ca.crt", "server.crt", "node-0.pub", "node-1.pub"}
    publics = []
    for i in range(2):
        own = load_ssh_private_key((keys / f"node-{i}").read_bytes(), password=None)
        public = load_ssh_public_key((keys / f"node-{i}.pub").read_bytes())
        assert own.public_key() == public
        publics.append(public)
    assert publics[0] != publics[1]


@pytest.mark.parametrize(
    ("host", "message"),
    [("a b", "'a b' is no name or address of a host"), ("localhost", "name a new folder")],
)
def test_what_cannot_be_made_is_told_in_one_line(tmp_path, capsys, host, message):
    (tmp_path / "keys").mkdir()
    assert main(["certificates", str(tmp_path / "keys"), host]) == 2
    assert message in capsys.readouterr().err
    assert not [*(tmp_path / "keys").iterdir()]
