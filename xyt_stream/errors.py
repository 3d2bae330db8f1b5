"""Defines every error that this package raises on purpose.

    XYTError                    catch this to catch them all
    ├── AudioError              a sound file or samples that cannot be used
    ├── InputTypeError          an argument that holds no numbers where samples or codes belong
    ├── CodeError               codes of the wrong shape, type or range
    │   └── CodeFileError       a .xyt file that is damaged, cut short or from another model
    ├── StateError              the saved state of a stream that cannot be loaded
    ├── ModelError              a checkpoint or config that cannot be loaded
    ├── DeviceError             no usable microphone, loudspeaker or compute device
    ├── MissingExtraError       an optional dependency is not installed
    ├── RoomKeyError            a key that encrypts no room
    ├── ProtocolError           a message that breaks the wire protocol; with name and close code
    ├── EventError              a Realtime event that is refused; the session goes on
    ├── ConnectionFailedError   the server cannot be reached, refuses the session or goes away
    │   └── CertificateError    a server's certificate that is not trusted
    ├── HandoverError           a live session that cannot move to another server
    └── ServeError              the server cannot start

A message is one sentence that says what is wrong and, where it can, what to do. The command line
prints it as it stands: names in it, which may come from anyone's file, are escaped and cut short.
"""

from __future__ import annotations

LONGEST = 1_000  # characters of a message


def printable(text: str, longest: int = LONGEST) -> str:
    """`text` with control characters escaped for a terminal, cut to `longest` characters."""
    safe = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:longest])
    return "".join(safe)[:longest] + ("…" if len(text) > longest else "")


class XYTError(Exception):
    """Base of every error raised on purpose by this package."""

    def __str__(self) -> str:
        return printable(super().__str__())


class AudioError(XYTError, ValueError):
    """A sound file or an array of samples cannot be used."""


class InputTypeError(XYTError, TypeError):
    """An argument holds no numbers where samples or codes belong: a path, None, ragged rows."""


class CodeError(XYTError, ValueError):
    """Codes have the wrong shape, type or range."""


class CodeFileError(CodeError):
    """A .xyt file is damaged, cut short or belongs to another model."""


class StateError(XYTError, ValueError):
    """The saved state of a stream cannot be loaded."""


class ModelError(XYTError, ValueError):
    """A checkpoint or its config cannot be loaded."""


class DeviceError(XYTError, RuntimeError):
    """A microphone, loudspeaker or compute device is missing or will not work."""


class MissingExtraError(XYTError, ImportError):
    """An optional dependency is not installed.

    Args:
        feature: the feature that is missing, as the sentence begins ("Sound devices").
        extra: the extra of this distribution that installs it ("audio"); None: it comes without.
    """

    def __init__(self, feature: str, extra: str | None) -> None:
        if extra is None:
            super().__init__(f"{feature} need all of this package: pip install xyt-stream")
        else:
            super().__init__(f"{feature} need an extra: pip install 'xyt-stream[{extra}]'")
        self.extra = extra


_TORCH = {"torch", "safetensors", "silero_vad", "yaml", "huggingface_hub"}


def missing_torch(error: ModuleNotFoundError) -> MissingExtraError | None:
    """The error in place of one of a failed import, if a module of the extra "torch" is missing."""
    if (error.name or "").partition(".")[0] in _TORCH:
        return MissingExtraError("Codecs in torch, and servers that encode and decode,", "torch")
    return None


class ProtocolError(XYTError, ValueError):
    """A message breaks the wire protocol.

    Args:
        name: the error's name on the wire, as docs/protocol.md lists it ("bad_message").
        message: one sentence for the person at the other end.
        close_code: the websocket close code that goes with the name (4000 to 4999).
        retry_after: seconds after which it makes sense to try again; None if it never does.
        node: name of the server that has the session; None: this one, or none.
    """

    def __init__(
        self,
        name: str,
        message: str,
        close_code: int,
        retry_after: float | None = None,
        node: str | None = None,
    ) -> None:
        super().__init__(message)
        self.node = node
        self.name = name
        self.close_code = close_code
        self.retry_after = retry_after


class RoomKeyError(XYTError, ValueError):
    """A room's key cannot be used."""


class EventError(XYTError, ValueError):
    """An event of the OpenAI Realtime protocol is refused; the session goes on.

    Args:
        code: the error's name on the wire ("invalid_value").
        message: one sentence for the person at the other end.
        param: the field that is wrong ("session.type").
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class ConnectionFailedError(XYTError, ConnectionError):
    """The server cannot be reached, refuses the session or goes away."""


class CertificateError(ConnectionFailedError):
    """The server's certificate is not trusted: trying again does not help."""


class HandoverError(XYTError, RuntimeError):
    """A live session cannot move from one server to another."""


class ServeError(XYTError, RuntimeError):
    """The server cannot start."""
