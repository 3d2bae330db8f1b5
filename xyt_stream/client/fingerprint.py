"""Trusts one certificate by its fingerprint, as `xyt-stream serve --https` prints it."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from typing import Any

from xyt_stream.errors import CertificateError

_DIGITS = re.compile("[0-9a-f]{64}")


def check_fingerprint(text: str) -> str:
    """The fingerprint as 64 hexadecimal digits, without its colons and spaces.

    Raises:
        CertificateError: the text is no SHA-256.
    """
    digits = re.sub(r"[\s:]", "", text).lower()
    if not _DIGITS.fullmatch(digits):
        raise CertificateError(
            f"{text!r} is no fingerprint: it is a SHA-256, 64 hexadecimal digits, as "
            "`xyt-stream serve --https` prints it"
        )
    return digits


def pinned(fingerprint: str) -> ssl.SSLContext:
    """A context for clients that accepts the certificate of this fingerprint and no other.

    Its names, its dates and its issuer do not matter. It is compared at the end of the handshake,
    before the client sends anything.

    Raises:
        CertificateError: the text is no SHA-256.
    """
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = _PinnedObject  # of asyncio
    context.sslsocket_class = _PinnedSocket  # of urllib
    context.fingerprint = check_fingerprint(fingerprint)
    return context


def certificate_error(url: str, error: ssl.SSLCertVerificationError) -> CertificateError:
    """The error in place of one of a handshake, in a sentence for the user."""
    if isinstance(error, _OtherCertificate):
        return CertificateError(
            f"the certificate of the server at {url} is not the one of the fingerprint, but "
            f"{error.found}: compare it with what the server prints, which is new at each start"
        )
    reason = (error.verify_message or str(error)).rstrip(".")
    return CertificateError(
        f"the certificate of the server at {url} cannot be trusted: {reason}; if the server made "
        "it itself, give the SHA-256 that it prints: --fingerprint"
    )


class _OtherCertificate(ssl.SSLCertVerificationError):
    """The server has another certificate than the pinned one; `found` is its fingerprint."""

    found = ""


class _PinnedContext(ssl.SSLContext):
    fingerprint: str

    def check(self, certificate: bytes | None) -> None:
        """Raises _OtherCertificate unless the DER of a certificate has the fingerprint."""
        found = hashlib.sha256(certificate or b"").hexdigest()
        if not hmac.compare_digest(found, self.fingerprint):
            error = _OtherCertificate(1, "another certificate")
            error.found = found
            raise error


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self)


def _check(connection: Any) -> None:
    """Compares the peer's certificate with the one of the connection's context."""
    connection.context.check(connection.getpeercert(binary_form=True))
