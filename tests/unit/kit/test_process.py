"""Imports without the collector: it is back afterwards, whatever came of them."""

from __future__ import annotations

import gc

import pytest

from tidings.kit.process import importing


@pytest.mark.parametrize("fails", [False, True])
def test_the_collector_rests_while_modules_are_imported(fails: bool) -> None:
    try:
        with importing():
            assert not gc.isenabled()
            if fails:
                raise ImportError
    except ImportError:
        assert fails
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    gc.unfreeze()
