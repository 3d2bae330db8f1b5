"""Wraps private parts of torch that make a live step on a CPU fast: FBGEMM, oneDNN, TorchScript.

Together they halve the time of a step. torch documents none of them, and any release may drop or
change them, so every use is in this file, and `supported` and `float16_supported` test whether they
work. Without them weights keep their plain layout and steps run eagerly, in twice the time.
"""

from __future__ import annotations

import functools
import os
import textwrap
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

# oneDNN prepares a product for each shape once and keeps 1024 of those. A step has some 45
# products, each with its own number of rows: with 32 streams that come and go oneDNN would prepare
# anew in every step, which doubles the time. It reads this variable at its first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8192")

ROWS = 4  # for which oneDNN chooses the layout: the 50 Hz positions of one frame

_BLOCK = 6  # rows that FBGEMM's kernels for AVX2 multiply at a time
_DIFFERENT = (1, 2)  # rows of a last block whose sums may be in another order

Trace = Callable[..., Tensor]
P = ParamSpec("P")


@functools.cache
def supported() -> bool:
    """Whether oneDNN's prepacked product and TorchScript are there and compute correctly."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode(), torch.device("cpu"):
        weight = torch.linspace(-1, 1, 48, dtype=torch.float32).view(6, 8)
        rows, bias = weight[:ROWS].clone(), weight[:, 0].clone()
        try:
            packed = reorder(weight)
            eager = packed_linear(rows, packed, bias, gelu=True)
            traced = trace(lambda x, w, b: packed_linear(x, w, b, gelu=True), (rows, packed, bias))
            results = [eager, run_trace(traced, (rows, packed, bias))]
            held([packed])
        except Exception:  # a release may fail in any way
            return False
        expected = F.gelu(F.linear(rows, weight, bias))
        return all(torch.allclose(result, expected, atol=1e-5) for result in results)


def reorder(weight: Tensor) -> Tensor:
    """A weight, [out, in] on the CPU, as an opaque tensor in oneDNN's blocked layout."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
    return packed


@functools.cache
def float16_supported() -> bool:
    """Whether FBGEMM's product with weights in float16 is there and computes correctly.

    It needs an x86 processor with AVX2.
    """
    if not supported():
        return False
    with torch.inference_mode(), torch.device("cpu"), warnings.catch_warnings():
        # torch says once in a process that it will drop both functions some day.
        warnings.filterwarnings("ignore", r"fbgemm_\w+ is deprecated", UserWarning)
        weight = torch.linspace(-1, 1, 48, dtype=torch.float32).view(6, 8).half().float()
        rows, bias = weight[:ROWS].clone(), weight[:, 0].clone()
        try:
            packed = pack_float16(weight)
            result = packed_linear(rows, packed, bias)
        except Exception:  # as above
            return False
        return torch.allclose(result, F.linear(rows, weight, bias), atol=1e-5)


def pack_float16(weight: Tensor) -> Tensor:
    """A weight, [out, in] on the CPU, as an opaque tensor of float16 in FBGEMM's layout.

    Its values must be those of float16.
    """
    packed: Tensor = torch.fbgemm_pack_gemm_matrix_fp16(weight)
    return packed


@functools.cache
def _float16_rows_differ() -> bool:
    """Whether FBGEMM multiplies one or two rows in an order of their own, as with AVX2 it does."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(), torch.device("cpu"):
        weight = torch.randn(64, 192, generator=generator).half().float()
        rows = torch.randn(_BLOCK, 192, generator=generator)
        packed = pack_float16(weight)
        whole = torch.fbgemm_linear_fp16_weight_fp32_activation(rows, packed, None)
        few = [
            torch.fbgemm_linear_fp16_weight_fp32_activation(rows[:count], packed, None)
            for count in _DIFFERENT
        ]
    return any(not torch.equal(each, whole[: len(each)]) for each in few)


@functools.cache
def _float16_invariant() -> Trace:
    """FBGEMM's product, whose result for a row does not depend on the number of rows.

    FBGEMM cuts the rows into blocks, and a last block of one or two may be summed in an order of
    its own. It is made longer. The script decides anew in each call of a trace.
    """
    source = f"""
    def product(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        rows = x.numel() // x.size(-1)
        last = rows % {_BLOCK}
        if last < {_DIFFERENT[0]} or last > {_DIFFERENT[-1]}:
            return torch.fbgemm_linear_fp16_weight_fp32_activation(x, weight, bias)
        spare = {_DIFFERENT[-1] + 1} - last
        longer = torch.constant_pad_nd(x.reshape(rows, x.size(-1)), [0, 0, 0, spare])
        out = torch.fbgemm_linear_fp16_weight_fp32_activation(longer, weight, bias)
        return out[:rows].view(x.size()[:-1] + [out.size(-1)])
    """
    product: Trace = torch.jit.CompilationUnit(textwrap.dedent(source)).product
    return product


def bfloat16_supported() -> bool:
    """Whether this processor multiplies bfloat16; those without AVX-512 do not."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """F.linear with a weight of `reorder` or `pack_float16`, and F.gelu after it.

    Sums are in float32 in either case.

    Args:
        x: [..., in].
        weight: packed, of [out, in].
        bias: [out].

    Returns:
        [..., out].
    """
    if not weight.is_mkldnn:
        if _float16_rows_differ():
            product = _float16_invariant()(x, weight, bias)
        else:
            product = torch.fbgemm_linear_fp16_weight_fp32_activation(x, weight, bias)
        return F.gelu(product) if gelu else product
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        traced: Tensor = _scripted()[gelu](x, weight, bias)
        return traced
    after = "gelu" if gelu else "none"
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "none")
    return out


@functools.cache
def _scripted() -> tuple[Trace, Trace]:
    """`packed_linear` without and with gelu; a trace cannot hold the empty list of numbers.

    Traces point into this one compilation unit, so it is never let go.
    """
    source = """
    def {name}(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
        numbers: List[Optional[number]] = []
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "{name}", numbers, "none")
    """
    names = ("none", "gelu")
    unit = torch.jit.CompilationUnit(
        "".join(textwrap.dedent(source).format(name=name) for name in names)
    )
    return unit.none, unit.gelu


def trace(function: Trace, inputs: tuple[Tensor, ...]) -> Trace:
    """Run `function` once on `inputs` and keep its operations, for `run_trace`."""
    with warnings.catch_warnings():
        # Deprecated since torch 2.11. The replacements that torch names compile a step for minutes
        # and need a C++ compiler (torch.compile), or forbid state that changes in place
        # (torch.export). `supported` notices when it is gone.
        warnings.filterwarnings("ignore", r"`torch\.jit\.trace` is deprecated", DeprecationWarning)
        # Sizes become constants of the trace, as they should: one trace is for one shape of step.
        named = torch.jit.TracerWarning  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", category=named)
        traced: Trace = torch.jit.trace(  # type: ignore[no-untyped-call]
            function, inputs, check_trace=False
        )
    # Sizes that a trace reads travel as tensors, which doubles their cost. The shapes of this call
    # go first: those of later calls may be others.
    graph = traced.graph  # type: ignore[attr-defined]
    torch._C._jit_pass_erase_shape_information(graph)
    torch._C._jit_pass_peephole(graph)
    torch._C._jit_pass_dce(graph)
    return traced


def run_trace(traced: Trace, inputs: tuple[Tensor, ...]) -> Tensor:
    """Run a trace, without Python and without the interpreter's lock."""
    # TorchScript's optimiser would take seconds and gain nothing.
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        return traced(*inputs)


def held(tensors: list[Tensor]) -> object:
    """A reference to each of the tensors from outside of Python, while the result is kept."""
    return _script(tensors)


def without_python(function: Callable[P, None]) -> Callable[P, None]:
    """A function of tensors that torch runs in one call, without Python and the interpreter's lock.

    Args:
        function: in the part of Python that TorchScript knows; it is run as it is where torch has
            no TorchScript.
    """

    @functools.cache
    def compiled() -> Callable[P, None]:
        found: Callable[P, None] = _script(function) if supported() else function
        return found

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            compiled()(*args, **kwargs)

    return call


def _script(value: Any) -> Any:
    """A function, or a list of tensors, as TorchScript's own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", DeprecationWarning)
        return torch.jit.script(value)
