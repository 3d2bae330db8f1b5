"""Speech language models in the server's own process: what they look like, how they are found.

    xyt-stream serve --duplex package.module:Factory

`Factory` is anything that can be called with the server's Codec and gives a DuplexModel; or, if it
has an attribute `batched` that is true, with the Codec and a number of slots, and gives a
BatchedDuplexModel. Nothing has to be inherited from.

All methods are called in one thread that is theirs alone, in the order of time. An exception ends
the conversation that it came from and no other (in a batched `step`, all that were active), and is
logged. A model that needs more than 80 ms for a step makes its users wait.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from xyt_stream.errors import ServeError
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slots import Mask
from xyt_stream.streaming.codec import Codec

Factory: TypeAlias = Callable[..., Any]
Answer: TypeAlias = CodeArray | Exception | None


class DuplexModel(Protocol):
    """One conversation at a time; there is an object for each that goes on.

    It may also have a method `clear(played: int)`: the user wants it to be quiet now, and has heard
    so many frames of what it said in this conversation. What it said since is dropped. A client may
    tell later how much it really played: then it is called again, with fewer.
    """

    def open(self, session: str) -> None:
        """A conversation begins; `session` names it in logs."""

    def step(self, codes: CodeArray) -> CodeArray | None:
        """The user's next 80 ms, int64 [codebooks]; the model's, or None: it says nothing."""

    def close(self) -> None:
        """The conversation is over; another may follow."""


class BatchedDuplexModel(Protocol):
    """All conversations at once, each in a slot of its own.

    It may also have a method `clear(slot: int, played: int)`, see DuplexModel.
    """

    batched: bool

    def open(self, slot: int, session: str) -> None:
        """A conversation begins in a slot that is free."""

    def step(
        self, codes: CodeArray, active: npt.NDArray[np.bool_]
    ) -> tuple[CodeArray, npt.NDArray[np.bool_]]:
        """The next 80 ms of some conversations.

        Args:
            codes: int64 [slots, codebooks] of the users.
            active: bool [slots]; the other slots' state must not move.

        Returns:
            int64 [slots, codebooks] and whether the model says it, bool [slots].
        """

    def close(self, slot: int) -> None:
        """The slot is free."""


def load(name: str) -> Factory:
    """What `package.module:Factory` names; modules in the current directory are found, too.

    Raises:
        ServeError: there is no such thing.
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
    except Exception as error:  # whatever a stranger's module does
        raise ServeError(f"cannot import the duplex model {name}: {_line(error)}") from error
    if not callable(found):
        raise ServeError(f"{name} cannot be called, so it makes no duplex model")
    factory: Factory = found
    return factory


def build(factory: Factory, *args: Any) -> Any:
    """A model.

    Raises:
        ServeError: its own code failed, or it lacks a method.
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


class Models(Protocol):
    """Models of conversations, each in its slot."""

    def open(self, slot: int, session: str) -> None: ...
    def step(self, codes: CodeArray, active: Mask) -> list[Answer]: ...
    def clear(self, slot: int, played: int) -> None: ...
    def close(self, slot: int) -> None: ...


def models_of(factory: Factory, codec: Codec, slots: int) -> Models:
    """What the factory makes, for so many conversations.

    Raises:
        ServeError: it makes none.
    """
    if getattr(factory, "batched", False):
        return _Together(build(factory, codec, slots))
    return _Each(lambda: build(factory, codec), slots)


class _Together:
    """One model for all."""

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


class _Each:
    """A model for each conversation, used again for later ones unless it has failed."""

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
                continue  # it has failed, which will be noticed soon
            try:
                answers[slot] = self._models[slot].step(codes[slot].copy())
            except Exception as error:
                self._models[slot] = None
                answers[slot] = error
        return answers

    def clear(self, slot: int, played: int) -> None:
        if hasattr(self._models[slot], "clear"):
            self._models[slot].clear(played)

    def close(self, slot: int) -> None:
        model, self._models[slot] = self._models[slot], None
        if model is not None:
            model.close()
            self._spare.append(model)
