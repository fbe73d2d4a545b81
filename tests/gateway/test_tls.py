"""TLS settings, channel binding hashes and names in certificates."""

import asyncio
import datetime
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from gateway.config import Database, ListenTls
from gateway.config.model import SslMode
from gateway.tls import (
    ServerTls,
    TlsError,
    came_by_alpn,
    certificate_binding,
    client_context,
    common_name,
    server_tls,
)
from tests.support.certificates import Authority, Issued

Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


def self_signed(algorithm: Hash | None, *, pss: bool = False, names: tuple[str, ...] = ("x",)) -> bytes:
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if algorithm is None:
        key = ed25519.Ed25519PrivateKey.generate()
    elif pss:
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    how = padding.PSS(padding.MGF1(hashes.SHA384()), 48) if pss else None
    return builder.sign(key, algorithm, rsa_padding=how).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384"), (hashes.SHA512(), "sha512")],
)
def test_binding_uses_the_hash_of_the_signature(algorithm: Hash, name: str) -> None:
    der = self_signed(algorithm)
    assert certificate_binding(der) == hashlib.new(name, der).digest()


def test_binding_of_an_rsa_pss_signature() -> None:
    der = self_signed(hashes.SHA384(), pss=True)
    assert certificate_binding(der) == hashlib.sha384(der).digest()


def test_no_binding_where_the_signature_names_no_hash() -> None:
    assert certificate_binding(self_signed(None)) is None
    assert certificate_binding(b"no certificate") is None
    # ecdsa-with-SHA256, turned into an algorithm nobody has defined
    ecdsa = bytes.fromhex("06082a8648ce3d040302")
    unknown = self_signed(hashes.SHA256()).replace(ecdsa, ecdsa[:-1] + b"\x7f")
    assert certificate_binding(unknown) is None


def test_listener_without_tls() -> None:
    assert server_tls(ListenTls()) is None


def test_listener_with_tls(authority: Authority) -> None:
    issued = authority.issue("gateway", names=("localhost",))
    tls = server_tls(ListenTls("require", issued.cert, issued.key, authority.cert))
    assert tls is not None
    assert tls.mode == "require"
    der = ssl.PEM_cert_to_DER_cert(issued.cert.read_text())
    assert tls.binding == hashlib.sha256(der).digest()
    assert tls.context.verify_mode == ssl.CERT_OPTIONAL
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_2
    without_ca = server_tls(ListenTls("prefer", issued.cert, issued.key))
    assert without_ca is not None
    assert without_ca.context.verify_mode == ssl.CERT_NONE


def test_unusable_files_are_named(authority: Authority, tmp_path: Path) -> None:
    issued, other = authority.issue("one"), authority.issue("two")
    nothing = tmp_path / "nothing.pem"
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(TlsError, match=r"nothing\.pem.*No such file"):
        server_tls(ListenTls("prefer", nothing, issued.key))
    with pytest.raises(TlsError, match=r"two.*key"):
        server_tls(ListenTls("prefer", other.cert, issued.key))
    with pytest.raises(TlsError, match=r"root certificates in .*empty\.pem"):
        server_tls(ListenTls("prefer", issued.cert, issued.key, empty))
    with pytest.raises(TlsError, match="needs cert and key"):
        server_tls(ListenTls("prefer"))


def test_encrypted_key_is_refused_without_asking(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("encrypted")
    key = serialization.load_pem_private_key(issued.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(TlsError, match="passphrase"):
        server_tls(ListenTls("prefer", issued.cert, locked))


@pytest.mark.parametrize(
    ("mode", "root", "verify", "hostname"),
    [
        ("prefer", False, ssl.CERT_NONE, False),
        ("require", False, ssl.CERT_NONE, False),
        ("require", True, ssl.CERT_REQUIRED, False),
        ("verify-ca", True, ssl.CERT_REQUIRED, False),
        ("verify-full", True, ssl.CERT_REQUIRED, True),
    ],
)
def test_what_sslmode_checks(
    authority: Authority, mode: SslMode, root: bool, verify: ssl.VerifyMode, hostname: bool
) -> None:
    context = client_context(Database("db", sslmode=mode, sslrootcert=str(authority.cert) if root else None))
    assert (context.verify_mode, context.check_hostname) == (verify, hostname)


def test_system_roots_need_verify_full() -> None:
    assert client_context(Database("db", sslmode="verify-full", sslrootcert="system")).check_hostname
    with pytest.raises(TlsError, match="needs sslmode: verify-full"):
        client_context(Database("db", sslmode="require", sslrootcert="system"))


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_verifying_needs_a_root(mode: SslMode) -> None:
    with pytest.raises(TlsError, match="needs sslrootcert"):
        client_context(Database("db", sslmode=mode))


async def handshake(server: ServerTls, client: ssl.SSLContext) -> tuple[str | None, bool]:
    """The common name the server reads, and whether the protocol was named."""
    seen: asyncio.Future[tuple[str | None, bool]] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = writer.get_extra_info("ssl_object")
        await reader.read(1)
        seen.set_result((common_name(tls), came_by_alpn(tls)))
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server.context)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname="localhost"
        )
        writer.write(b"x")
        result = await seen
        await reader.read()
        writer.close()
        await writer.wait_closed()
    return result


def listening(authority: Authority) -> ServerTls:
    issued = authority.issue("localhost", names=("localhost",))
    tls = server_tls(ListenTls("prefer", issued.cert, issued.key, authority.cert))
    assert tls is not None
    return tls


def connecting(authority: Authority, issued: Issued | None = None) -> ssl.SSLContext:
    return client_context(
        Database(
            "localhost",
            sslmode="verify-full",
            sslrootcert=str(authority.cert),
            sslcert=issued.cert if issued else None,
            sslkey=issued.key if issued else None,
        )
    )


async def test_common_name_of_a_verified_client(authority: Authority) -> None:
    issued = authority.issue("alice")
    assert await handshake(listening(authority), connecting(authority, issued)) == ("alice", True)


async def test_client_without_a_certificate(authority: Authority) -> None:
    assert await handshake(listening(authority), connecting(authority)) == (None, True)


async def test_client_that_does_not_name_the_protocol(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.cert)
    assert await handshake(listening(authority), context) == (None, False)


class Certificate:
    """Stands for an ssl.SSLObject with a verified certificate that no sane authority would sign."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def getpeercert(self) -> dict[str, object]:
        return {"subject": tuple((("commonName", name),) for name in self.names)}


@pytest.mark.parametrize("names", [(), ("alice", "bob"), ("alice\0.evil",)])
def test_ambiguous_common_names_are_no_name(names: tuple[str, ...]) -> None:
    assert common_name(Certificate(*names)) is None  # type: ignore[arg-type]
