"""Converts steps to ONNX graphs with torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import onnx_ir as ir
import torch
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
)
from onnxscript import optimizer

from xyt_stream.edge.manifest import NEXT
from xyt_stream.export.steps import ExportedStep

OPSET = 20  # the first with GELU
IR_VERSION = 10  # older runtimes refuse newer ones
PREFIX = "network."  # before the names of a step's weights
LARGEST = 1 << 12  # elements of a table that the graph may hold; larger ones are computed on load


def trace(step: ExportedStep) -> ir.Model:
    """The graph of a step, with its weights as inputs under their names in the network.

    Inputs and outputs are those of `ExportedStep.forward`, named; their first axis is free. So is
    the number of codebooks that go in.
    """
    batch = torch.export.Dim("batch")
    shapes: dict[int, object] = {0: batch}
    if step.input.name == "codes":
        shapes[1] = torch.export.Dim("codebooks", max=step.input.shape[0])
    example = torch.zeros(2, *step.input.shape, dtype=getattr(torch, step.input.dtype))
    before = [torch.cat([tensor, tensor]) for tensor in step.first.values()]
    dynamic = (shapes, tuple({0: batch} for _ in before))
    with _quiet(), torch.no_grad():
        exported = torch.export.export(
            step, (example, *before), dynamic_shapes=dynamic, strict=False
        )
        program = torch.onnx.export(
            exported,
            input_names=[step.input.name, *step.first],
            output_names=[
                *(each.name for each in step.outputs),
                *(name + NEXT for name in step.first),
            ],
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model: ir.Model = program.model
    model.ir_version = IR_VERSION
    _weights_to_inputs(model, step.network.state_dict().keys())
    optimizer.optimize(model, input_size_limit=LARGEST, output_size_limit=LARGEST)
    for once in (DeduplicateInitializersPass(LARGEST), CommonSubexpressionEliminationPass()):
        once(model)
    _strip(model)
    return model


def _weights_to_inputs(model: ir.Model, names: Collection[str]) -> None:
    """Turn weights into inputs, so that the optimiser folds none of them into others."""
    for name, value in list(model.graph.initializers.items()):
        if name.removeprefix(PREFIX) in names:
            del model.graph.initializers[name]
            if value.uses():
                value.name = name.removeprefix(PREFIX)
                value.const_value = None
                model.graph.inputs.append(value)


def _strip(model: ir.Model) -> None:
    """Remove notes about the sources that each node came from: most of a graph's size."""
    values: list[ir.Value] = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        values += node.outputs
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own deprecated parts and of packages that it can do without."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
