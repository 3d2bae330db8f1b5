"""Carries out the events of a Realtime client."""

from __future__ import annotations

import asyncio

import numpy as np

from xyt_stream.audio import INPUT_RATE, Samples
from xyt_stream.protocol.realtime.audio_formats import AudioDecoder, decode_base64, seconds_of
from xyt_stream.protocol.realtime.client_events import (
    ClientEvent,
    InputAppend,
    InputClear,
    InputCommit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
)
from xyt_stream.protocol.realtime.items import NewItem, new_item
from xyt_stream.protocol.realtime.server_events import ServerEvents
from xyt_stream.server.realtime.input_buffer import InputBuffer
from xyt_stream.server.realtime.model_feed import ModelFeed

_AT_ONCE = 64  # items that are read without a pause


class EventHandler:
    """Carries out the events of one session's client. For the event loop's thread.

    Args:
        events: answers the client; holds the settings, the items and the current response.
        buffer: of the user's sound.
        feed: of the model.
    """

    def __init__(self, events: ServerEvents, buffer: InputBuffer, feed: ModelFeed) -> None:
        self._events = events
        self._buffer = buffer
        self._feed = feed
        self._decoder = AudioDecoder(events.settings.input, INPUT_RATE)

    async def handle(self, event: ClientEvent) -> None:
        """Carries out a client's event.

        Raises:
            EventError: it cannot be carried out; the session goes on.
        """
        events, buffer = self._events, self._buffer
        if isinstance(event, InputAppend):
            await self._append(event.audio)
        elif isinstance(event, InputCommit):
            if not events.settings.live:
                buffer.append(self._decoder.flush())
            buffer.commit()
        elif isinstance(event, InputClear):
            self._decoder.flush()
            buffer.clear()
            self._feed.turn_cleared()
        elif isinstance(event, SessionUpdate):
            events.update(event)
            buffer.settings_changed()
            if events.settings.input != self._decoder.format:
                self._decoder = AudioDecoder(events.settings.input, INPUT_RATE)
        elif isinstance(event, ItemCreate):
            new = new_item(event.item)
            events.check_new_item(new.id, event.previous_item_id)
            samples = await self._sound_of(new)
            events.add_item(new, event.previous_item_id)
            self._add_turn(samples)
        elif isinstance(event, ItemRetrieve):
            events.retrieve(event.item_id)
        elif isinstance(event, ItemDelete):
            events.delete(event.item_id)
        elif isinstance(event, ItemTruncate):
            events.truncate(event)
        elif isinstance(event, ResponseCreate):
            await self._respond(event)
        elif isinstance(event, ResponseCancel):
            events.responses.cancel(event.response_id)

    async def _append(self, audio: str) -> None:
        """Adds sound of the microphone, in base64, to the buffer."""
        self._buffer.check_space(seconds_of(audio, self._decoder.format))
        for piece in await _decode(audio, "audio", self._decoder):
            self._buffer.append(self._decoder.decode(piece))
            await asyncio.sleep(0)  # lets other sessions run during a long chunk

    async def _sound_of(self, new: NewItem) -> Samples:
        """All of the user's sound in an item, float32 [n] at 16 kHz."""
        if not new.audio:
            return np.zeros(0, np.float32)
        form = self._events.settings.input
        self._buffer.check_space(sum(seconds_of(audio, form) for audio in new.audio))
        decoder, sound = AudioDecoder(form, INPUT_RATE), [np.zeros(0, np.float32)]
        for audio in new.audio:
            for piece in await _decode(audio, "item.content.audio", decoder):
                sound.append(decoder.decode(piece))
                await asyncio.sleep(0)
        return np.concatenate([*sound, decoder.flush()])

    async def _respond(self, event: ResponseCreate) -> None:
        """Begins a response, after the sound of the items in its input."""
        given = None if event.response is None else event.response.input
        items = []
        for index, item in enumerate(given or []):
            if not self._events.is_reference(item, index):
                items.append(new_item(item, f"response.input[{index}]"))
            if index % _AT_ONCE == 0:
                await asyncio.sleep(0)  # lets other sessions run during a long list
        sounds = [await self._sound_of(item) for item in items]
        self._events.create(event)
        for sound in sounds:
            self._add_turn(sound)
        self._feed.answer()

    def _add_turn(self, samples: Samples) -> None:
        """Adds an item's sound, float32 [n], as a turn of its own; none adds no turn."""
        if len(samples):
            self._buffer.add_turn(samples)


async def _decode(audio: str, param: str, decoder: AudioDecoder) -> list[bytes]:
    """Decodes base64 into pieces, and checks all of them before any is used.

    Raises:
        EventError: it is no base64, or holds no whole number of samples.
    """
    pieces = []
    for piece in decode_base64(audio, param):
        pieces.append(piece)
        await asyncio.sleep(0)  # lets other sessions run during a long chunk
    decoder.check(sum(map(len, pieces)))
    return pieces
