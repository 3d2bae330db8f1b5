"""What a step is made of: its matrix products, its kernels, and the bytes that are kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Products:
    """The matrix products of one step, in order, on the tensors that the step gave them.

    Done by themselves they tell this machine's rate for these very shapes and layouts: what is left
    of a step's time is not arithmetic.

    Attributes:
        operations: multiplications and additions, each for one.
    """

    calls: list[Callable[[], Any]]
    operations: int

    def run(self) -> None:
        """All of them once more."""
        for call in self.calls:
            call()


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Callable[[], Any]] = []
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if count := _operations(func.__name__.split(".")[0], args, out):
            self.calls.append(lambda: func(*args, **kwargs))
            self.operations += count
        return out


def record(step: Callable[[], object]) -> Products:
    """Run a step and note its matrix products: linear maps, convolutions, attention."""
    recorder = _Recorder()
    with torch.inference_mode(), recorder:
        step()
    return Products(recorder.calls, recorder.operations)


def _operations(name: str, args: tuple[Any, ...], out: Any) -> int:
    if "linear" in name or name in ("mm", "bmm", "matmul"):
        return 2 * int(out.numel()) * int(args[0].shape[-1])
    if name in ("addmm", "baddbmm"):
        return 2 * int(out.numel()) * int(args[1].shape[-1])
    if "scaled_dot_product" in name:
        q, k = args[:2]
        return 4 * int(q.numel()) * int(k.shape[2])
    if name.startswith("conv"):
        transposed = name == "conv_transpose1d" or (name == "convolution" and args[6])
        positions = args[0].numel() if transposed else out.numel()
        return 2 * int(positions) * int(args[1].shape[1:].numel())
    return 0


def kernels(step: Callable[[], object], device: torch.device) -> int | None:
    """Kernels that a step launches, copies among them; None on a CPU, which launches none."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        step()
        torch.cuda.synchronize(device)
    return sum(bool(event.device_type.name == "CUDA") for event in trace.events() or ())


def held_bytes(*things: object) -> int:
    """Of all tensors that modules, states and what hangs on them hold, each counted once."""
    found = {
        t.data_ptr() if t.layout == torch.strided else id(t): t for t in _tensors(things, set())
    }
    return sum(t.numel() * t.element_size() for t in found.values() if not t.is_meta)


def _tensors(thing: object, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Mapping):
        parts: list[object] = list(thing.values())
    elif isinstance(thing, list | tuple | set):
        parts = list(thing)
    elif isinstance(thing, type | ModuleType) or not hasattr(thing, "__dict__"):
        return
    else:
        parts = list(vars(thing).values())
    for part in parts:
        yield from _tensors(part, seen)
