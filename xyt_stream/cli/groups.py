"""Options that belong together: a command takes them as one parameter, and its users one by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from xyt_stream.cli.options import (
    DEFAULT_PORT,
    Config,
    Device,
    Model,
    ModelArgument,
    Revision,
    Token,
    Weights,
)
from xyt_stream.cli.terminal import say

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and where it runs."""

    model: Model = None
    config: Config = None
    revision: Revision = None
    device: Device = "cpu"

    def load(self, weights: Weights = Weights.float32) -> Codec:
        """The model itself: for when all else is checked."""
        import torch

        from xyt_stream import Codec

        dtype = getattr(torch, weights.value)
        return Codec.load(
            self.model, self.device, config=self.config, revision=self.revision, dtype=dtype
        )


@dataclass(frozen=True)
class NamedModel(ModelOptions):
    """The same for a command that starts with its model."""

    model: ModelArgument = field()


@dataclass(frozen=True)
class ServerOptions:
    """Which server, and the way in."""

    url: Annotated[str, typer.Option(help="The server.")] = f"ws://127.0.0.1:{DEFAULT_PORT}"
    token: Token = None


@dataclass(frozen=True)
class SoundIn:
    """Where sound comes from.

    Raises:
        typer.BadParameter: from two places at once.
    """

    input_device: Annotated[
        str | None, typer.Option(help="Microphone: a number or a part of a name from `devices`.")
    ] = None
    input_file: Annotated[
        Path | None, typer.Option("--input", help="Send this sound file, in real time, not a mic.")
    ] = None

    def __post_init__(self) -> None:
        if self.input_device is not None and self.input_file is not None:
            raise typer.BadParameter("--input takes --input-device's place: leave one out")


@dataclass(frozen=True)
class SoundOut:
    """Where sound goes to.

    Raises:
        typer.BadParameter: to two places at once.
    """

    output_device: Annotated[
        str | None, typer.Option(help="Loudspeaker: a number or a part of a name from `devices`.")
    ] = None
    output_file: Annotated[
        Path | None, typer.Option("--output", help="Write what arrives to this sound file.")
    ] = None

    def __post_init__(self) -> None:
        if self.output_device is not None and self.output_file is not None:
            raise typer.BadParameter("--output takes --output-device's place: leave one out")

    def tell(self) -> None:
        """Where to find it, if it went into a file."""
        if self.output_file is not None:
            say(f"sound went to {self.output_file}")


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """For typer: in the place of each parameter that is one of the above stand its fields.

    Fields without a default come before all else, as arguments.
    """
    groups: dict[str, tuple[Any, list[str]]] = {}
    arguments: list[inspect.Parameter] = []
    others: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if not (isinstance(group, type) and is_dataclass(group)):
            others.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        names = [each.name for each in fields(group)]
        groups[parameter.name] = (group, names)
        types = get_type_hints(group, include_extras=True)
        own = inspect.signature(group).parameters
        for name in names:
            option = own[name].replace(annotation=types[name], kind=inspect.Parameter.KEYWORD_ONLY)
            (arguments if option.default is option.empty else others).append(option)

    def run(**given: Any) -> None:
        made = {
            parameter: group(**{name: given.pop(name) for name in names})
            for parameter, (group, names) in groups.items()
        }
        command(**given, **made)

    update_wrapper(run, command)
    parameters = [*arguments, *others]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
