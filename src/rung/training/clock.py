"""The time that a training has taken, the same for all processes that train together."""

from __future__ import annotations

import time

from rung.process_group import ProcessGroup


class Clock:
    """Seconds of training: what earlier sessions took, and the time since this one began.

    Several processes go by the first one's clock, and by what it said when they last agreed: time decides what is
    done next, and all must do the same.
    """

    def __init__(self, before: float, group: ProcessGroup) -> None:
        self._began = time.monotonic() - before
        self._group = group
        self._agreed = before

    def __call__(self) -> float:
        return time.monotonic() - self._began if self._group.world_size == 1 else self._agreed

    def agree(self) -> None:
        """All processes call this; one alone has nobody to agree with."""
        if self._group.world_size > 1:
            self._agreed = self._group.broadcast_value(time.monotonic() - self._began)
