from __future__ import annotations

from typing import Any

import pytest

from xyt_stream.errors import ModelError
from xyt_stream.train.recipe import Recipe, recipe

NOTHING: dict[str, Any] = {
    **dict.fromkeys(("steps", "minutes", "rate")),
    "trained_before": False,
    "keep_codes": False,
    "seed": 0,
}


def test_progress_is_of_steps_or_of_minutes() -> None:
    assert Recipe(steps=200).progress(50, 1e9) == 0.25
    assert Recipe(minutes=2).progress(10**9, 30.0) == 0.25
    assert Recipe(minutes=2).progress(0, 999.0) == Recipe(steps=2).progress(3, 0.0) == 1


def test_a_trained_network_is_handled_more_gently() -> None:
    new, old = recipe(**NOTHING), recipe(**NOTHING | {"trained_before": True})
    assert old.rate < new.rate
    assert old.quantizer_start == 0 < new.quantizer_start
    assert old.adversary_start == 0 < new.adversary_start
    assert new.steps is not None
    assert recipe(**NOTHING | {"minutes": 3.0}).steps is None


def test_kept_codes_are_final_at_once() -> None:
    assert recipe(**NOTHING | {"trained_before": True, "keep_codes": True}).codes_final == 0


@pytest.mark.parametrize(
    ("wishes", "named"), [({"keep_codes": True}, "--init"), ({"steps": 1, "minutes": 1.0}, "both")]
)
def test_wishes_that_do_not_fit_are_refused(wishes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        recipe(**NOTHING | wishes)
