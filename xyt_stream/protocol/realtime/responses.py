"""Turns the model's output into responses.

The model listens all the time and decides by itself when it speaks. While the settings are live, a
response begins with the first frame in which the model speaks, or when the client asks for one, and
ends when the model is silent. Otherwise the client asks for each response, which contains the
model's speech after the whole input.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Any

from xyt_stream.audio import Samples
from xyt_stream.errors import EventError
from xyt_stream.protocol.realtime.client_events import ResponseCreate
from xyt_stream.protocol.realtime.error_events import active_response, no_active_response
from xyt_stream.protocol.realtime.held_output import HeldOutput, OutputFrame
from xyt_stream.protocol.realtime.items import History
from xyt_stream.protocol.realtime.metadata import check_metadata
from xyt_stream.protocol.realtime.response import Emit, Response
from xyt_stream.protocol.realtime.settings import AudioFormat, Settings, check_modalities

# Frames after the input, 2 s, in which a response goes on that began within the input: the model's
# answer may still come.
_GRACE = 25


class Responses:
    """The responses of one session. All methods run on the event loop.

    Args:
        emit: called with each event.
        rate: Hz of the model's audio.
        history: the items of the conversation.
        cancel_output: called when the model's speech is not wanted any more, with the model frames
            that were played in all, if the client has reported it, else None.
        played: returns the number of model frames played in all, including the latest.

    Attributes:
        settings: the settings in force; assigned from outside.
        current: the response in progress, or None.
        conversation_id: id of the session's conversation.
    """

    def __init__(
        self,
        emit: Emit,
        *,
        rate: int,
        history: History,
        cancel_output: Callable[[int | None], None],
        played: Callable[[], int],
    ) -> None:
        self.settings = Settings()
        self.current: Response | None = None
        self.conversation_id = new_id("conv")
        self._emit = emit
        self._rate = rate
        self._history = history
        self._cancel_output = cancel_output
        self._played = played
        self._latest: Response | None = None  # the last finished response with audio
        self._muted = False  # the model still speaks in a response that was cancelled
        self._held = HeldOutput()
        self._hold_before = 0.0  # frame before which output is held: the input is not whole
        self._open_before = 0.0  # frame before which the response does not end
        self._next_output = 0  # frame of the output that comes next
        self._heard = 0  # frames of the user's that the model heard since the last response

    def create(self, event: ResponseCreate) -> EventError | None:
        """Begins a response because the client asked for one.

        Returns:
            The error of its metadata, if they are wrong; the response then has none.

        Raises:
            EventError: a response is in progress, or an option is unsupported.
        """
        options, metadata, wrong = event.response, None, None
        form, in_conversation = self.settings.output, True
        if options is not None:
            check_modalities(options.output_modalities, "response.output_modalities")
            if options.conversation not in (None, "auto", "none"):
                raise EventError(
                    "invalid_value",
                    f"Invalid value: '{options.conversation[:64]}'. Supported values are: 'auto' "
                    "and 'none'.",
                    "response.conversation",
                )
            in_conversation = options.conversation != "none"
            if options.audio and options.audio.output and options.audio.output.format:
                form = options.audio.output.format
            metadata, wrong = check_metadata(options.metadata)
        if self.current is not None:
            raise active_response(self.current.id)
        self._muted = False
        self._begin(form, metadata, in_conversation)
        if not self.settings.live:
            self._hold_before = math.inf
        return wrong

    def cancel(self, response_id: str | None) -> None:
        """Cancels the response because the client asked for it.

        Raises:
            EventError: there is no such response.
        """
        if self.current is None or response_id not in (None, self.current.id):
            raise no_active_response()
        self.interrupt("client_cancelled")

    def interrupt(self, reason: str) -> None:
        """Cancels the response, if there is one, and the model's speech."""
        if self.current is not None:
            self._muted = self.current.speaking
            self._held.clear()
            self.finish("cancelled", {"reason": reason})
            self._cancel_output(None)

    def truncate(self, item_id: str, audio_end_ms: int) -> int:
        """Cancels the model's speech of an item after what was played of it.

        Returns:
            The end of what was played in ms: not more than the item has.

        Raises:
            EventError: there is no such item of the model's.
        """
        response = self.current or self._latest
        if response is None or response.item_id != item_id:
            # Truncating an earlier item must not cancel the speech of the current response.
            return min(audio_end_ms, self._history.spoken_ms(item_id))
        end = min(audio_end_ms, response.audio_ms)
        self._cancel_output(response.frames_until(end))
        return end

    def user_takes_turn(self) -> None:
        """Ends the muting of a cancelled response: the user's turn has ended."""
        self._muted = False

    def heard_frame(self, index: int, speech: bool) -> None:
        """The model gets a frame of the user's audio; `speech`: the user speaks in it."""
        self._heard += 1
        if speech:
            self._held.user_spoke(index)

    def heard_all(self, frames: int) -> None:
        """The model got the whole input of the response: `frames` of audio since the beginning."""
        if self.current is not None:
            self._hold_before = frames - 1
            if self._next_output > self._hold_before:
                self.release()

    def discard_output(self) -> None:
        """Drops and cancels the model's speech, because the client cleared the input before it."""
        self._held.clear()
        self._muted = self.current is None
        self._cancel_output(None)

    def on_output(self, index: int, speaks: bool, samples: Samples) -> None:
        """The model's next audio, float32 [n] at `rate`, of a frame of the clock."""
        self._next_output = index + 1
        frame = OutputFrame(index, speaks, samples, self._played())
        if self.current is None:
            self._muted = self._muted and speaks
            if not self.settings.live:
                if not self._muted:
                    self._held.add(frame)
                return
            if self._muted or not speaks:
                return
            self._begin(self.settings.output)
        elif index < self._hold_before:
            self._held.add(frame)
            return
        else:
            self.release()
        self._pass_on(frame)

    def end_silent_response(self) -> None:
        """Ends the response if the model has said nothing in it."""
        if self.current is not None and not self.current.speaking:
            self.finish("completed")

    def release(self) -> None:
        """Puts held output into the response; drops it if there is none."""
        held, whole = self._held.release(), self._hold_before
        self._hold_before = 0
        if held and math.isfinite(whole):
            self._open_before = whole + 1 + _GRACE
        for frame in held:
            self._pass_on(frame)

    def finish(self, status: str, details: dict[str, Any] | None = None) -> None:
        """Ends the response in progress."""
        response, self.current = self.current, None
        assert response is not None
        response.finish(status, self._heard, details)
        self._heard = 0
        if response.speaking:
            self._latest = response
            self._history.replace(response.item, response.audio_ms)

    def _pass_on(self, frame: OutputFrame) -> None:
        response = self.current
        if response is None:
            return
        if frame.speaks:
            if not response.speaking:
                previous = self._history.last
                if response.in_conversation:
                    self._history.add(response.item, audio_ms=0)
                response.begin(previous, frame.played - 1)
            response.speak(frame.samples)
            return
        over = response.speaking and not response.pause(frame.samples)
        if over and frame.index >= self._open_before:
            self.finish("completed")

    def _begin(
        self,
        form: AudioFormat,
        metadata: dict[str, str] | None = None,
        in_conversation: bool = True,
    ) -> None:
        self._hold_before = self._open_before = 0
        self.current = Response(
            self._emit,
            response_id=new_id("resp"),
            item_id=new_id("item"),
            conversation_id=self.conversation_id if in_conversation else None,
            form=form,
            rate=self._rate,
            metadata=metadata,
        )


def new_id(kind: str) -> str:
    """A unique id that begins with `kind`."""
    return f"{kind}_{secrets.token_hex(10)}"
