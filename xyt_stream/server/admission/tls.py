"""Reads a server's certificate and key from files."""

from __future__ import annotations

import ssl
from pathlib import Path

from xyt_stream.errors import ServeError


def tls_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Reads a certificate and its key from PEM files; without a certificate there is no TLS.

    Raises:
        ServeError: a file cannot be read, or they do not belong together.
    """
    if cert is None:
        if key is not None:
            raise ServeError("--tls-key is the key of a certificate: give --tls-cert, too")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError:
        raise ServeError(
            f"cannot use the certificate {cert}: it, or its key, is no PEM file, or they do not "
            "belong together"
        ) from None
    except OSError as error:
        files = f"{cert}" if key is None else f"{cert} with the key {key}"
        raise ServeError(f"cannot use the certificate {files}: {error.strerror}") from None
    return context
