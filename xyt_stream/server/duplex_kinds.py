"""Models for all conversations at once, and for one each: the same to the thread that runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.duplex import Factory, build
from xyt_stream.server.slots import Mask
from xyt_stream.streaming.codec import Codec

Answer: TypeAlias = CodeArray | Exception | None


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
