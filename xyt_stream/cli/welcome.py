"""Prints how to reach the server that has just started."""

from __future__ import annotations

import io
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from xyt_stream.server.admission.access import is_loopback

if TYPE_CHECKING:
    from xyt_stream.server.app import Running

_ANY = ("0.0.0.0", "::")
_ELSEWHERE = ("192.0.2.1", 9)  # for documentation: a UDP socket that connects sends nothing
_WHITE_ON_BLACK, _PLAIN = "\x1b[97;40m", "\x1b[0m"  # cameras read it in any terminal's colours


def network_address() -> str | None:
    """This machine's IPv4 address in its network; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if is_loopback(address) else address


def certificate_names(host: str) -> list[str]:
    """The host names and addresses under which clients reach a server that listens on `host`."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), host, network_address() or ""]
    return [name for name in dict.fromkeys(names) if name and name not in _ANY and name.isascii()]


@dataclass(frozen=True)
class PageAddresses:
    """The addresses of the server's page.

    Attributes:
        here: on this computer; None if the server listens on a network's address only.
        network: on other machines; None if they cannot connect.
    """

    here: str | None
    network: str | None


def page_addresses(
    host: str, port: int, *, secure: bool, token: str | None = None
) -> PageAddresses:
    """The addresses of the page of a server that listens on `host` and `port`.

    Args:
        token: that was made for this run. It goes behind the #, which browsers do not send.
    """
    scheme = "https" if secure else "http"
    secret = "" if token is None else f"#token={quote(token)}"

    def page(name: str) -> str:
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/{secret}"

    here = host in _ANY or is_loopback(host)
    others = network_address() if host in _ANY else None if is_loopback(host) else host
    return PageAddresses(page("localhost") if here else None, page(others) if others else None)


def is_terminal() -> bool:
    """Whether a person reads what this process prints."""
    return sys.stdout.isatty()


def announce(
    server: Running, *, token: str | None, asks_token: bool, fingerprint: str | None
) -> None:
    """Prints the server's addresses: for a person in a terminal, else a line each.

    Args:
        token: that was made for this run.
        asks_token: whether the page asks for another one.
        fingerprint: of a certificate that was made for this run.
    """
    pages = page_addresses(server.host, server.port, secure=server.secure, token=token)
    if is_terminal():
        lines = _welcome(server, pages, token=token, asks_token=asks_token, fingerprint=fingerprint)
    else:
        lines = [f"xyt-stream serves {server.name} at {server.url}"]
        if token is not None:
            lines.append(f"page {pages.network or pages.here}")
        if fingerprint is not None:
            lines.append(f"SHA-256 of the certificate {fingerprint}")
    print(*lines, sep="\n", flush=True)


def _welcome(
    server: Running,
    pages: PageAddresses,
    *,
    token: str | None,
    asks_token: bool,
    fingerprint: str | None,
) -> list[str]:
    """The lines for a terminal: addresses, a QR code for a phone, how to stop."""
    lines = [f"xyt-stream serves {server.name}.", ""]
    if pages.here is not None:
        lines.append(f"  on this computer  {pages.here}")
    if pages.network is not None:
        lines.append(f"  on the network    {pages.network}")
    if asks_token:
        lines.append("  The page asks for the token.")
    lines.append("")
    if pages.network is None:
        lines.append("  For phones and other computers: xyt-stream serve --https --host 0.0.0.0")
    elif not server.secure:
        lines.append("  Other devices get no microphone without https:// - add --https.")
    else:
        if _shows_blocks():
            lines += [qr_code(pages.network), ""]
        lines.append("  A phone on this network opens the page with its camera.")
    if fingerprint is not None:
        lines.append("  Browsers warn once: the certificate was made for this run. Its SHA-256:")
        lines += [f"  {fingerprint[:48]}", f"  {fingerprint[48:]}"]
        lines += _for_terminals(server, pages, token, fingerprint)
    return [*lines, "", "Ctrl-C stops."]


def _for_terminals(
    server: Running, pages: PageAddresses, token: str | None, fingerprint: str
) -> list[str]:
    """The lines that show how a terminal elsewhere reaches a server with a certificate of its own.

    They can be copied as they stand: a fingerprint in one word, each line short enough for one.
    """
    page = urlsplit(pages.network or pages.here or "")
    options = f"--url wss://{page.netloc}"
    if token is not None:
        options += f" --token={token}"  # it may begin with a hyphen
    return [
        "  The same in a terminal:",
        f"  xyt-stream loopback {options} \\",
        f"  --fingerprint {fingerprint.replace(':', '').lower()}",
    ]


def qr_code(text: str) -> str:
    """A QR code for a terminal, as lines of block characters."""
    import segno  # only where one is shown

    code = io.StringIO()
    segno.make(text, micro=False, error="l").terminal(code, border=2, compact=True)
    return "\n".join(f"  {_WHITE_ON_BLACK}{line}{_PLAIN}" for line in code.getvalue().splitlines())


def _shows_blocks() -> bool:
    try:
        "█▀▄".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
