from __future__ import annotations

import torch

from xyt_stream.streaming.copies import Copies


def test_on_a_cpu_all_is_there_at_once():
    copies = Copies(torch.device("cpu"))
    rows = copies.staging(2, 3)
    rows.fill_(7)
    assert copies.up(rows) is rows
    back = copies.staging(2, 3)
    arrival = copies.down(rows + 1, back)
    assert torch.equal(arrival.wait(), torch.full((2, 3), 8.0))
    assert arrival.rows is back
