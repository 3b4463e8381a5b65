"""By which field of an Application a release line of Argo CD is known.

Written by `python -m tests.testbed.cut_schemas`, from the CRDs of each line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BEFORE: Final = "2.14"
"""The oldest line that was looked at: what has none of these fields is that or an earlier one."""

FIRST_FIELDS: Final[Mapping[str, str]] = {
    "3.0": "spec.source.kustomize.ignoreMissingComponents",
    "3.1": "spec.syncPolicy.automated.enabled",
    "3.2": "spec.syncPolicy.retry.refresh",
    "3.3 or 3.4": "spec.sourceHydrator.drySource.directory",
    "3.5": "spec.source.tagPrefix",
    "3.6": "spec.source.directory.disableExtensionFilter",
}
"""The first field of its own, oldest line first; lines that no field tells apart are one."""
