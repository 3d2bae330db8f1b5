"""Profiles a step: its matrix products, its kernel launches, and the memory it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from xyt_stream.model.quantizer import packed_weights
from xyt_stream.model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Products:
    """The matrix products of one step, in order, on the step's own tensors.

    Run alone they give this machine's rate for exactly these shapes and layouts; the rest of a
    step's time is not arithmetic.

    Attributes:
        calls: each repeats one product.
        operations: a multiply-add counts as two.
    """

    calls: list[Callable[[], Any]]
    operations: int

    def run(self) -> None:
        """Repeats all products."""
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
    """Runs a step and records its matrix products: linear maps, convolutions, attention."""
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
    """Counts the kernels, copies included, that a step launches; None on a CPU."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        step()
        torch.cuda.synchronize(device)
    return sum(bool(event.device_type.name == "CUDA") for event in trace.events() or ())


def longest(
    step: Callable[[], object], device: torch.device, count: int = 8
) -> list[tuple[str, float]]:
    """Profiles a step: what takes longest in it, kernels on a GPU and operators on a CPU.

    Returns:
        Names, and the ms that all calls of each took.
    """
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as trace:
        step()
        if on_gpu:
            torch.cuda.synchronize(device)
    spent = [
        (each.key, (each.self_device_time_total if on_gpu else each.self_cpu_time_total) / 1e3)
        for each in trace.key_averages()
    ]
    return sorted(spent, key=lambda each: -each[1])[:count]


def network_bytes(network: Tokenizer) -> int:
    """Sums the bytes of a network's tensors and packed weights."""
    hidden = [plain for plain, packed in packed_weights(network) if packed.layout == torch.strided]
    return tensor_bytes(network) + 2 * sum(plain.numel() for plain in hidden)  # in float16


def tensor_bytes(*roots: object) -> int:
    """Sums the bytes of all tensors reachable from modules, states and containers, each once."""
    found = {
        t.data_ptr() if t.layout == torch.strided else id(t): t for t in _tensors(roots, set())
    }
    return sum(t.numel() * t.element_size() for t in found.values() if not t.is_meta)


def _tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        children: list[object] = list(value.values())
    elif isinstance(value, list | tuple | set):
        children = list(value)
    elif isinstance(value, type | ModuleType) or not hasattr(value, "__dict__"):
        return
    else:
        children = list(vars(value).values())
    for child in children:
        yield from _tensors(child, seen)
