"""TLS towards clients and towards servers, and the hash of a certificate that SCRAM binds to.

Source: PostgreSQL documentation, "SSL Support" (libpq), "Secure TCP/IP Connections with SSL", "SSL Session
Encryption" (direct TLS, ALPN); RFC 5929, section 4 (tls-server-end-point).
"""

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config import Database, ListenTls

__all__ = [
    "ALPN",
    "ServerTls",
    "TlsError",
    "came_by_alpn",
    "certificate_binding",
    "client_context",
    "common_name",
    "server_tls",
]

ALPN: Final = "postgresql"
_SYSTEM: Final = "system"


class TlsError(ValueError):
    """A certificate, key or combination of settings that cannot be used; the text is one line for a
    person."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the listener needs: the context, whether TLS is demanded, and what clients bind SCRAM to.

    ``binding`` is None when the certificate's signature names no hash (Ed25519): then channel binding is not
    offered.
    """

    context: ssl.SSLContext = field(repr=False)
    mode: Literal["prefer", "require"]
    binding: bytes | None = field(repr=False)


def server_tls(settings: ListenTls) -> ServerTls | None:
    """TLS for the listener; None when it is off. Reads files; raises :class:`TlsError`."""
    if settings.mode == "disable":
        return None
    if settings.cert is None or settings.key is None:
        raise TlsError(f"tls mode {settings.mode} needs cert and key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # As in the server: no resumption, so that every session shows its certificate.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load_pair(context, settings.cert, settings.key)
    if settings.client_ca is not None:
        _load_roots(context, settings.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    # The first certificate of the file is the one OpenSSL shows; it has just been read without complaint.
    leaf = x509.load_pem_x509_certificates(settings.cert.read_bytes())[0]
    return ServerTls(context, settings.mode, _binding_of(leaf))


def client_context(database: Database) -> ssl.SSLContext:
    """TLS towards a server, as strict as libpq is for the database's ``sslmode``.

    A root certificate is checked whenever one is given; the host name only with ``verify-full``. The word
    ``system`` stands for the system's certificate authorities and demands ``verify-full``. Reads files;
    raises :class:`TlsError`.
    """
    mode, root = database.sslmode, database.sslrootcert
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if root == _SYSTEM:
        if mode != "verify-full":
            raise TlsError(f"sslrootcert: system needs sslmode: verify-full, not {mode}")
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    elif root is not None:
        _load_roots(context, Path(root))
    elif mode in ("verify-ca", "verify-full"):
        raise TlsError(f"sslmode: {mode} needs sslrootcert: a file, or system")
    if root is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = mode == "verify-full"
    if database.sslcert is not None:
        _load_pair(context, database.sslcert, database.sslkey)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    def no_password() -> str:
        raise TlsError(f"the key of {cert} is encrypted; keys with a passphrase are not supported")

    try:
        context.load_cert_chain(cert, key, no_password)
    except OSError as error:  # ssl.SSLError is one
        raise TlsError(f"cannot use the certificate {cert} with its key: {_reason(error)}") from None


def _load_roots(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:
        raise TlsError(f"cannot use the root certificates in {path}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error)


def certificate_binding(der: bytes) -> bytes | None:
    """The tls-server-end-point hash of a certificate in DER; None when its signature names no hash.

    The hash is that of the certificate's signature, SHA-256 in place of MD5 and SHA-1.
    """
    try:
        return _binding_of(x509.load_der_x509_certificate(der))
    except ValueError:
        return None


def _binding_of(certificate: x509.Certificate) -> bytes | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name.replace("-", "_")
    return hashlib.new(name, certificate.public_bytes(Encoding.DER)).digest()


def came_by_alpn(tls: ssl.SSLObject) -> bool:
    """Whether the client named the protocol: without that, TLS from the first byte on is not for us (it may
    be a browser tricked into talking to a database)."""
    return tls.selected_alpn_protocol() == ALPN


def common_name(tls: ssl.SSLObject) -> str | None:
    """The common name of the client's certificate, once that was verified; None without, or with several."""
    certificate = tls.getpeercert()
    if not certificate:
        return None
    subject = cast(tuple[tuple[tuple[str, str], ...], ...], certificate.get("subject", ()))
    names = [value for part in subject for name, value in part if name == "commonName"]
    # Two names in one certificate, or one with a zero byte inside, are read differently by different
    # programs.
    return names[0] if len(names) == 1 and "\0" not in names[0] else None
