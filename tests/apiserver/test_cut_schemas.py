"""The simulation's table of fields is what Argo CD's own definitions say, at the pinned release."""

from __future__ import annotations

from tests.testbed import cut_schemas


def test_the_table_is_cut_from_argo_cds_own_definitions() -> None:
    kept = cut_schemas.TABLE.read_text()
    assert kept == cut_schemas.text(), "run python -m tests.testbed.cut_schemas"
