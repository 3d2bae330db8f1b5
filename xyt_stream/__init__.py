"""Codes speech live at 1000 bits a second with XY-Tokenizer, 80 ms at a time."""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes a while to import
if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

__version__ = "0.1.0"
__all__ = ["Codec", "__version__"]


def __getattr__(name: str) -> object:
    # Lazy, so that the client and the protocol can be imported where there is no torch.
    if name == "Codec":
        try:
            from xyt_stream.streaming.codec import Codec
        except ModuleNotFoundError as error:
            from xyt_stream.errors import missing_torch

            raise missing_torch(error) or error from None
        return Codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
