"""Groups options that several commands share: one parameter of a command, several options."""

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
    CodecPlace,
    Config,
    Device,
    Fingerprint,
    Model,
    ModelArgument,
    Revision,
    RoomKey,
    Token,
    Weights,
    check_source,
    check_url,
)
from xyt_stream.errors import ModelError
from xyt_stream.model import hub

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec


@dataclass(frozen=True)
class ModelOptions:
    """The model and the device it runs on."""

    model: Model = None
    config: Config = None
    revision: Revision = None
    device: Device = "cpu"

    def check(self, lookahead: int | None = None) -> None:
        """Checks the model's files, before anything heavy is imported for them.

        Args:
            lookahead: of the live stream; None: the default.

        Raises:
            ModelError: no such file, or none that is a model; a hub name is not looked up yet; or
                a causal model is to look ahead.
        """
        hub.check(self.model, config=self.config, revision=self.revision)
        if lookahead and hub.is_causal(self.model):
            raise ModelError(
                f"{self.model or hub.DEFAULT} is causal: its lookahead is 0, leave --lookahead out"
            )

    def load(self, weights: Weights = Weights.float32) -> Codec:
        """Loads the model; call it when all other arguments have been checked.

        Raises:
            ModelError: the model cannot be found or read.
        """
        import torch

        from xyt_stream import Codec

        dtype = getattr(torch, weights.value)
        return Codec.load(
            self.model, self.device, config=self.config, revision=self.revision, dtype=dtype
        )


@dataclass(frozen=True)
class NamedModel(ModelOptions):
    """As ModelOptions, with the model as the command's first argument."""

    model: ModelArgument = field()


@dataclass(frozen=True)
class ServerOptions:
    """The server and the token for it.

    Raises:
        XYTError: the address is none of a server, or the fingerprint none of a certificate.
    """

    url: Annotated[str, typer.Option(help="Address of the server.")] = (
        f"ws://127.0.0.1:{DEFAULT_PORT}"
    )
    token: Token = None
    fingerprint: Fingerprint = None
    key: RoomKey = None
    codec: Annotated[
        CodecPlace,
        typer.Option(
            help="Where sound becomes codes: here, on the server, or auto: here where the server "
            "has the model of this package, or that of --model, and until it falls behind."
        ),
    ] = CodecPlace.auto
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of an exported model (`export`) that runs here. Default: the model of "
            "this package.",
        ),
    ] = None

    def __post_init__(self) -> None:
        check_url(self.url, self.fingerprint)


@dataclass(frozen=True)
class SoundIn:
    """The source of sound: a microphone or a file.

    Raises:
        typer.BadParameter: both are given.
        XYTError: the file cannot be read.
    """

    input_device: Annotated[
        str | None, typer.Option(help="Microphone: a number or part of a name from `devices`.")
    ] = None
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="Sound file, or - for stdin, to send instead of a microphone.",
        ),
    ] = None
    frames_a_message: Annotated[
        int,
        typer.Option(
            min=1,
            max=16,
            help="Frames of codes (80 ms each) that are sent together, for thin links: fewer bytes "
            "a second, more delay. Needs the codec here.",
        ),
    ] = 1

    def __post_init__(self) -> None:
        if self.input_device is not None and self.input_file is not None:
            raise typer.BadParameter("--input and --input-device exclude each other: leave one out")
        if self.input_file is not None:
            check_source(self.input_file)


@dataclass(frozen=True)
class SoundOut:
    """The destination of sound: a loudspeaker or a file.

    Raises:
        typer.BadParameter: both are given.
        XYTError: the file cannot be written.
    """

    output_device: Annotated[
        str | None, typer.Option(help="Loudspeaker: a number or part of a name from `devices`.")
    ] = None
    output_file: Annotated[
        Path | None,
        typer.Option("--output", help="Sound file, or - for stdout, to write instead of playing."),
    ] = None

    def __post_init__(self) -> None:
        if self.output_device is not None and self.output_file is not None:
            raise typer.BadParameter(
                "--output and --output-device exclude each other: leave one out"
            )
        if self.output_file is not None:
            from xyt_stream.audio import check_target  # not at the top: it loads numpy

            check_target(self.output_file)

    def report(self) -> None:
        """Prints the name of the file, if sound was written to one."""
        if self.output_file is not None:
            from xyt_stream.cli.terminal import say
            from xyt_stream.standard_streams import target_name

            say(f"sound written to {target_name(self.output_file)}", beside=self.output_file)


def _option(panel: str, *, help: str, min: float, option: str | None) -> Any:
    """The option for a field that describes itself in its metadata, as those of Limits do."""
    names = () if option is None else (option,)
    return typer.Option(*names, help=help, min=min, rich_help_panel=panel)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces each parameter of a dataclass type by that dataclass's fields, for typer.

    Fields without a default become arguments and come first.
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
        group_parameters = inspect.signature(group).parameters
        for each in fields(group):
            name, kind = each.name, types[each.name]
            if "help" in each.metadata:
                kind = Annotated[kind, _option(group.__name__, **each.metadata)]
            option = group_parameters[name].replace(
                annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY
            )
            (arguments if option.default is option.empty else others).append(option)

    def run(**values: Any) -> None:
        grouped_values = {
            parameter: group(**{name: values.pop(name) for name in names})
            for parameter, (group, names) in groups.items()
        }
        command(**values, **grouped_values)

    update_wrapper(run, command)
    parameters = [*arguments, *others]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
