"""Way: which side of a pair has to be likely after the other."""

from __future__ import annotations

import enum


class Way(enum.StrEnum):
    """Both ways, a pair is as good as the worse of the two."""

    BOTH = "both"
    FORWARD = "forward"  # the target after the source
    BACK = "back"  # the source after the target: to tell what a target lacks

    @property
    def forth_and_back(self) -> tuple[bool, ...]:
        """Whether each pass is backwards."""
        return {Way.BOTH: (False, True), Way.FORWARD: (False,), Way.BACK: (True,)}[self]
