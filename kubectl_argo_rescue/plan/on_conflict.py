"""What undo may be told about fields of others; apart, since the flag's choices must cost nothing."""

from __future__ import annotations

from enum import Enum


class OnConflict(Enum):
    """What becomes of a field that somebody else wrote since."""

    STOP = "stop"
    SKIP = "skip"
    OVERWRITE = "overwrite"
