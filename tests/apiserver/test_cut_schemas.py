"""What is kept of Argo CD's own definitions is what they say, at the pinned releases."""

from __future__ import annotations

from tests.testbed import cut_schemas


def test_the_table_is_cut_from_argo_cds_own_definitions() -> None:
    kept = cut_schemas.TABLE.read_text()
    assert kept == cut_schemas.text(), "run python -m tests.testbed.cut_schemas"


def test_the_fields_that_tell_a_release_line_are_cut_from_the_definitions_of_each() -> None:
    kept = cut_schemas.FIRST_FIELDS.read_text()
    assert kept == cut_schemas.first_fields(), "run python -m tests.testbed.cut_schemas"
