"""Defines, finds and adapts speech language models that run in the server's own process.

    xyt-stream serve --duplex package.module:Factory

`Factory` is called with the server's Codec and returns a DuplexModel; if its attribute `batched` is
true, it is called with the Codec and a number of slots and returns a BatchedDuplexModel. No base
class is needed.

All methods are called in one thread, in the order of time. An exception is logged and ends its
conversation and no other (in a batched `step`, all that were active). A model that needs more than
80 ms for a step makes its users wait.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from xyt_stream.errors import ServeError
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.work import Mask

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

Factory: TypeAlias = Callable[..., Any]
Answer: TypeAlias = CodeArray | Exception | None


class DuplexModel(Protocol):
    """Holds one conversation at a time; each concurrent conversation has its own object.

    An optional method `clear(played: int)` is called when the user interrupts: `played` of the
    model's frames in this conversation were heard, and all later ones are dropped. When the client
    reports afterwards that it played fewer, `clear` is called again with that number.
    """

    def open(self, session: str) -> None:
        """Begins a conversation; `session` names it in logs."""

    def step(self, codes: CodeArray) -> CodeArray | None:
        """Takes the user's next 80 ms and returns the model's, int64 [codebooks]; None: silence."""

    def close(self) -> None:
        """Ends the conversation; another may follow."""


class BatchedDuplexModel(Protocol):
    """Holds all conversations, each in a slot.

    An optional method `clear(slot: int, played: int)` is called as DuplexModel says.
    """

    batched: bool

    def open(self, slot: int, session: str) -> None:
        """Begins a conversation in a free slot; `session` names it in logs."""

    def step(
        self, codes: CodeArray, active: npt.NDArray[np.bool_]
    ) -> tuple[CodeArray, npt.NDArray[np.bool_]]:
        """Takes the next 80 ms of some conversations.

        Args:
            codes: the users' frames, int64 [slots, codebooks].
            active: bool [slots]; the state of the other slots must not move.

        Returns:
            The model's frames, int64 [slots, codebooks], and whether it speaks, bool [slots].
        """

    def close(self, slot: int) -> None:
        """Ends the slot's conversation."""


def load(name: str) -> Factory:
    """Imports `package.module:Factory`, also from the current directory.

    Raises:
        ServeError: it cannot be imported, or cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ServeError(f"{name!r} names no duplex model: write it as package.module:Factory")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # a foreign module may raise anything
        raise ServeError(f"cannot import the duplex model {name}: {_line(error)}") from error
    if not callable(found):
        raise ServeError(f"{name} cannot be called, so it makes no duplex model")
    factory: Factory = found
    return factory


def build(factory: Factory, *args: Any) -> Any:
    """Calls a factory and checks that the model has the methods it needs.

    Raises:
        ServeError: the factory failed, or a method is missing.
    """
    name = getattr(factory, "__name__", str(factory))
    try:
        model = factory(*args)
    except Exception as error:
        raise ServeError(f"cannot make the duplex model {name}: {_line(error)}") from error
    missing = [each for each in ("open", "step", "close") if not hasattr(model, each)]
    if missing:
        raise ServeError(f"{name} makes no duplex model: it has no {' and no '.join(missing)}")
    return model


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def contained(error: BaseException) -> Exception:
    """`error`, or an Exception in its place: a model may raise SystemExit, too."""
    if isinstance(error, Exception):
        return error
    failure = RuntimeError(f"the model raised {type(error).__name__}")
    failure.__cause__ = error
    return failure


class Models(Protocol):
    """The interface that the runner's thread calls for both kinds of model; see DuplexModel."""

    def open(self, slot: int, session: str) -> None:
        """Begins a conversation in a free slot."""

    def step(self, codes: CodeArray, active: Mask) -> list[Answer]:
        """Steps the active slots; returns an answer for every slot, [slots].

        `codes` is int64 [slots, codebooks], `active` bool [slots]. An Exception among the answers
        ends that slot's conversation.
        """

    def clear(self, slot: int, played: int) -> None:
        """Passes an interruption on, if the model has `clear`."""

    def close(self, slot: int) -> None:
        """Ends a slot's conversation."""


def models_of(factory: Factory, codec: Codec, slots: int) -> Models:
    """Adapts the model or the models that a factory makes to one interface.

    Raises:
        ServeError: the factory failed, or a method is missing.
    """
    if getattr(factory, "batched", False):
        return _Batched(build(factory, codec, slots))
    return _PerConversation(lambda: build(factory, codec), slots)


class _Batched:
    """One model for all conversations."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.open = model.open
        self.close = model.close

    def step(self, codes: CodeArray, active: Mask) -> list[Answer]:
        said, speaks = self._model.step(codes, active)
        return [each if speaking else None for each, speaking in zip(said, speaks, strict=True)]

    def clear(self, slot: int, played: int) -> None:
        if hasattr(self._model, "clear"):
            self._model.clear(slot, played)


class _PerConversation:
    """A model for each conversation, reused for later ones unless it has failed."""

    def __init__(self, build: Callable[[], Any], slots: int) -> None:
        self._build = build
        self._spare = [build()]
        self._models: list[Any] = [None] * slots

    def open(self, slot: int, session: str) -> None:
        model = self._spare.pop() if self._spare else self._build()
        model.open(session)
        self._models[slot] = model

    def step(self, codes: CodeArray, active: Mask) -> list[Answer]:
        answers: list[Answer] = [None] * len(active)
        for slot in np.flatnonzero(active).tolist():
            if self._models[slot] is None:
                continue  # it has failed in `open` and the conversation is about to end
            try:
                answers[slot] = self._models[slot].step(codes[slot].copy())
            except BaseException as error:
                self._models[slot] = None
                answers[slot] = contained(error)
        return answers

    def clear(self, slot: int, played: int) -> None:
        if hasattr(self._models[slot], "clear"):
            self._models[slot].clear(played)

    def close(self, slot: int) -> None:
        model, self._models[slot] = self._models[slot], None
        if model is not None:
            model.close()
            self._spare.append(model)
