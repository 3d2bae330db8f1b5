"""Quantizes weights to eight bits: a processor reads a quarter of the bytes for each step."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

CODEBOOKS = "quantizer.codebooks"  # they are looked up, not multiplied: they stay in their file
PRODUCTS = ("MatMul", "Gemm")


def quantize(model: ir.Model, weights: Mapping[str, Tensor]) -> ir.Model:
    """Put the weights of a graph of `graphs.trace` into it, eight bits each.

    Each output channel has its own scale; activations are quantized as they come. One bit of eight
    is left unused, because processors without VNNI add pairs of products in 16 bits. Fourier
    transforms stay float32: their tables are no weights, and every rounding would be heard.

    Args:
        weights: of the network, float32, by name.

    Returns:
        A graph with the codebooks as its only weights among the inputs.
    """
    filled = set()
    for value in list(model.graph.inputs):
        if value.name in weights and value.name != CODEBOOKS:
            model.graph.inputs.remove(value)
            value.const_value = ir.tensor(weights[str(value.name)].numpy(), name=value.name)
            model.graph.register_initializer(value)
            filled.add(value)
    tables = [
        str(node.name)
        for node in model.graph
        if node.op_type in PRODUCTS and not _comes_from(node.inputs[1], filled)
    ]
    with TemporaryDirectory() as folder:
        plain, folded, small = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        ir.save(model, plain)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
        logging.disable(logging.WARNING)  # it recommends a preparation that was done above
        try:
            quantize_dynamic(
                folded,
                small,
                op_types_to_quantize=PRODUCTS,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=tables,
                extra_options={"MatMulConstBOnly": True},
            )
        finally:
            logging.disable(logging.NOTSET)
        quantized = ir.load(small)
    used = {node.domain for node in quantized.graph}
    for domain in quantized.opset_imports.keys() - used:
        del quantized.opset_imports[domain]
    return quantized


def _comes_from(value: ir.Value | None, sources: set[ir.Value]) -> bool:
    """Whether a value is computed from any of `sources`."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        if each in sources:
            return True
        seen.add(each)
        producer = each.producer()
        waiting += producer.inputs if producer else []
    return False
