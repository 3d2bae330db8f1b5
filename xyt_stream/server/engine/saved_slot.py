"""Turns the state of a slot into part of a handover's message, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xyt_stream.server.engine.slots import SlotFlags
from xyt_stream.server.saved import SavedSlot
from xyt_stream.server.saved_arrays import Array, array, values_of

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "torch."


def saved_slot(flags: SlotFlags, tensors: dict[str, Tensor]) -> SavedSlot:
    """Saves a slot's state.

    Args:
        flags: of the slot.
        tensors: of its encoder and decoder, on the host, by name.
    """
    return SavedSlot(
        from_codes=flags.from_codes,
        fresh=flags.fresh,
        decoding=flags.decoding,
        starts=flags.starts,
        fed=flags.fed,
        lead=array(flags.lead),
        tensors={name: _array_of(tensor) for name, tensor in tensors.items()},
    )


def loaded_slot(saved: SavedSlot, lead_samples: int) -> tuple[SlotFlags, dict[str, Tensor]]:
    """Returns a saved slot's flags, and the tensors of its encoder and decoder by name.

    Raises:
        HandoverError: an array has other bytes than its shape says.
    """
    flags = SlotFlags(
        from_codes=saved.from_codes,
        fresh=saved.fresh,
        decoding=saved.decoding,
        starts=saved.starts,
        fed=max(0, saved.fed),
        lead=values_of(saved.lead, "float32", (lead_samples,)),
    )
    return flags, {name: _tensor_of(each) for name, each in saved.tensors.items()}


def _array_of(tensor: Tensor) -> Array:
    import torch

    kind = str(tensor.dtype).removeprefix(_PREFIX)
    flat = tensor.contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
    return Array(kind, tuple(tensor.shape), data)


def _tensor_of(saved: Array) -> Tensor:
    import torch

    saved.check()
    kind: torch.dtype = getattr(torch, saved.kind)
    if not saved.data:
        return torch.empty(saved.shape, dtype=kind)
    return torch.frombuffer(bytearray(saved.data), dtype=kind).reshape(saved.shape)
