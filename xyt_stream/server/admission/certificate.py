"""Makes a certificate on the spot, for a server that has none."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 30  # that it is valid; the next start of the server makes another


@dataclass(frozen=True)
class OwnCertificate:
    """A certificate that no authority has signed: browsers warn once, and then encrypt as ever.

    Attributes:
        tls: the server's context with it.
        fingerprint: SHA-256 of the certificate in hex, as browsers show it.
        pem: the certificate alone, for clients that shall trust it.
    """

    tls: ssl.SSLContext
    fingerprint: str
    pem: bytes


def make_certificate(names: Iterable[str]) -> OwnCertificate:
    """Makes a key and a certificate for host names and addresses, in memory.

    Args:
        names: host names, and IPv4 or IPv6 addresses.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "xyt-stream")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of phones differ
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:  # ssl reads files only; this one is ours alone
        file = Path(folder) / "certificate.pem"
        file.touch(mode=0o600)
        file.write_bytes(pem + secret)
        context.load_cert_chain(file)
    return OwnCertificate(context, certificate.fingerprint(hashes.SHA256()).hex(":").upper(), pem)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
