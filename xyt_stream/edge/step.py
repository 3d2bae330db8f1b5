"""Runs one half of the codec in onnxruntime: a frame and a state in, a frame and a state out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from xyt_stream.edge.external import locations
from xyt_stream.edge.manifest import NEXT, Manifest, StepSpec, Stored, TensorSpec, digest, file_in
from xyt_stream.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    import onnxruntime

TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}  # as onnxruntime has them
LARGEST_GRAPH = 1 << 30  # bytes

State = dict[str, "onnxruntime.OrtValue"]
Arrays = Mapping[str, NDArray[Any]]

# One session serves all streams of a model.
_loaded: WeakValueDictionary[tuple[Any, ...], Step] = WeakValueDictionary()


class Step:
    """A graph, ready to run. Any thread may run it, several at a time.

    Args:
        folder: of the exported model.
        manifest: of that folder.
        spec: of the graph, one of the manifest's two.
        threads: that onnxruntime may use for one step.

    Raises:
        ModelError: files that are not those of the manifest, or that onnxruntime refuses.
        MissingExtraError: there is no onnxruntime.
    """

    def __init__(self, folder: Path, manifest: Manifest, spec: StepSpec, threads: int) -> None:
        ort = _onnxruntime()
        self.spec = spec
        _check_weights(folder, manifest.weights)
        graph = _check_graph(folder, spec.graph, manifest.weights)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # nothing but fatal errors: others are raised
        # Waiting threads sleep: between two frames there are 80 ms of nothing to do.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it has a dozen kinds, with no base of their own
            raise ModelError(f"{graph} is refused by onnxruntime: {_line(error)}") from None
        self._names = [spec.input.name, *(each.name for each in spec.state)]
        self._check(graph)

    def first(self) -> State:
        """The state of a fresh stream."""
        return self.state(
            {
                each.name: np.full((1, *each.shape), each.first, each.dtype)
                for each in self.spec.state
            }
        )

    def state(self, arrays: dict[str, NDArray[Any]]) -> State:
        """A state made of arrays [1, ...], which must not change any more."""
        value = _onnxruntime().OrtValue.ortvalue_from_numpy
        return {name: value(array) for name, array in arrays.items()}

    def run(self, x: NDArray[Any], state: State) -> tuple[list[NDArray[Any]], State]:
        """One step of one stream.

        Args:
            x: the input, [1, ...].

        Returns:
            The outputs, [1, ...] each, and the state after.
        """
        given = _onnxruntime().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x))
        try:
            results = self._session.run_with_ort_values(
                None, {self.spec.input.name: given, **state}
            )
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run the step: {_line(error)}") from None
        count = len(self.spec.outputs)
        after = dict(zip(self._names[1:], results[count:], strict=True))
        return [result.numpy() for result in results[:count]], after

    def bind(
        self, before: Arrays, after: Arrays, outputs: list[NDArray[Any]], x: NDArray[Any]
    ) -> Callable[[], None]:
        """A function that takes a step of some streams on buffers that stay where they are.

        All arrays are contiguous, with a row for each stream, and must outlive the function.

        Args:
            before: the state before the step, by name.
            after: receives the state after it. Only keys and values, of which a step writes the
                newest entries, may be the arrays of `before`.
            outputs: receive the outputs, in the manifest's order.
            x: the input.
        """
        ort = _onnxruntime()
        value = ort.OrtValue.ortvalue_from_numpy  # on a CPU it copies nothing
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self.spec.input.name, value(x))
        for each, array in zip(self.spec.outputs, outputs, strict=True):
            binding.bind_ortvalue_output(each.name, value(array))
        for each in self.spec.state:
            binding.bind_ortvalue_input(each.name, value(before[each.name]))
            binding.bind_ortvalue_output(each.name + NEXT, value(after[each.name]))

        def run() -> None:
            try:
                self._session.run_with_iobinding(binding)
            except Exception as error:
                raise ModelError(f"onnxruntime cannot run the step: {_line(error)}") from None

        return run

    def _check(self, graph: Path) -> None:
        """The graph takes and gives what the manifest says."""
        spec = self.spec
        after = [replace(each, name=each.name + NEXT) for each in spec.state]
        takes = _fits(self._session.get_inputs(), [spec.input, *spec.state])
        gives = _fits(self._session.get_outputs(), [*spec.outputs, *after])
        if not (takes and gives):
            raise ModelError(f"{graph} is refused: it does not fit the manifest beside it")


def load(folder: Path, manifest: Manifest, spec: StepSpec, threads: int) -> Step:
    """The step of a folder; the one that is in use already, if there is one."""
    files = [file_in(folder, stored).stat() for stored in (spec.graph, manifest.weights)]
    stamps = tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in files)
    key = (folder.resolve(), spec.graph, threads, stamps)
    step = _loaded.get(key)
    if step is None:
        step = _loaded[key] = Step(folder, manifest, spec, threads)
    return step


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("Codecs without torch", None) from error
    return onnxruntime


def _check_weights(folder: Path, stored: Stored) -> None:
    path = file_in(folder, stored)
    if digest(path) != stored.sha256:
        raise ModelError(f"{path} holds other weights than the graphs were made for: export again")


def _check_graph(folder: Path, stored: Stored, weights: Stored) -> Path:
    path = file_in(folder, stored)
    if path.stat().st_size > LARGEST_GRAPH:
        raise ModelError(f"{path} is refused: it is larger than any graph")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise ModelError(f"{path} is damaged, or of another export: export again")
    try:
        others = locations(data) - {weights.file}
    except ModelError as error:
        raise ModelError(f"{path} is refused: {error}") from None
    if others:
        raise ModelError(f"{path} is refused: it reads {min(others)!r}, not only {weights.file}")
    return path


def _fits(puts: list[Any], wanted: list[TensorSpec]) -> bool:
    """Whether a graph's inputs or outputs are these; a size that it leaves open fits any."""
    have = [(put.name, put.type, len(put.shape)) for put in puts]
    if have != [(each.name, TYPES[each.dtype], 1 + len(each.shape)) for each in wanted]:
        return False
    return all(
        isinstance(size, str) or size == right
        for put, each in zip(puts, wanted, strict=True)
        for size, right in zip(put.shape[1:], each.shape, strict=True)
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
