"""Turns messages and resamplers into parts of a session that moves to another server, and back."""

from __future__ import annotations

from xyt_stream.audio import ResamplerState
from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Control, Media
from xyt_stream.server.saved import SavedMessage, SavedResampler
from xyt_stream.server.saved_arrays import array, codes_of, values_of

_MOST_KEPT = 16.0  # seconds of a resampler's history; it needs two and a half


def save_resampler(state: ResamplerState) -> SavedResampler:
    """Saves a resampler's state."""
    return SavedResampler(taken=state.taken, given=state.given, history=array(state.history))


def resampler_state(saved: SavedResampler) -> ResamplerState:
    """Reads the state of a resampler, for one with the same rates.

    Raises:
        HandoverError: it is no state of a resampler.
    """
    history = values_of(saved.history, "float32", (None,), round(_MOST_KEPT * 192_000))
    if not 0 <= len(history) <= saved.taken or saved.given < 0:
        raise HandoverError("the state of a resampler does not fit")
    return ResamplerState(saved.taken, saved.given, history)


def save_message(message: Pcm | Codes | Control) -> SavedMessage:
    """Saves a queued message."""
    if isinstance(message, Pcm):
        return SavedMessage(frame=message.frame, gap=message.gap, media=array(message.samples))
    if isinstance(message, Codes):
        return SavedMessage(frame=message.frame, gap=message.gap, media=array(message.codes))
    text = messages.encode(message)
    assert isinstance(text, str)
    return SavedMessage(text=text)


def load_message(saved: SavedMessage) -> Pcm | Codes | Control:
    """Makes a queued message of a saved one.

    Raises:
        HandoverError: it is no message.
    """
    if saved.media is not None:
        if saved.media.kind == "int16":
            samples = values_of(saved.media, "int16", (None,))
            return Pcm(saved.frame, samples, saved.gap)
        return Codes(saved.frame, codes_of(saved.media, None, None), saved.gap)
    try:
        message = messages.decode(saved.text or "")
    except ProtocolError as error:
        raise HandoverError(f"a waiting message cannot be read: {error}") from None
    if message is None or isinstance(message, Media):
        raise HandoverError("a waiting message is of no kind that is known")
    return message
