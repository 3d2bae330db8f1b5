from __future__ import annotations

import torch

from xyt_stream.streaming.transfers import Transfers


def test_on_a_cpu_all_is_there_at_once():
    transfers = Transfers(torch.device("cpu"))
    rows = transfers.staging(2, 3)
    rows.fill_(7)
    assert transfers.up(rows) is rows
    back = transfers.staging(2, 3)
    arrival = transfers.down(rows + 1, back)
    assert torch.equal(arrival.wait(), torch.full((2, 3), 8.0))
    assert arrival.rows is back
