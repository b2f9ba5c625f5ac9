"""Memory for what goes to the card and comes back, used in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch

#: Groups at once: one is launched, one waits, one is handed out.
_TURNS = 3


class Buffers:
    """For segments of the ``usual`` frames of each network, and two channels. ``pinned``: a card fetches by itself."""

    def __init__(self, stems: int, usual: Sequence[int], *, pinned: bool) -> None:
        self.usual = usual
        self._stems, self._pinned = stems, pinned
        self._turn = 0
        self._kept: dict[tuple[int, int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def pair(self, member: int, together: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A question (segments × 2 × frames) and its answer (segments × stems × 2 × frames), not in use by others."""
        self._turn = (self._turn + 1) % _TURNS
        if frames != self.usual[member]:  # the ends of tracks have any length
            return self._made(together, frames)
        key = together, frames, self._turn
        if key not in self._kept:
            self._kept[key] = self._made(together, frames)
        return self._kept[key]

    def forget(self) -> None:
        """Free them once they are not in use."""
        self._kept.clear()

    def _made(self, together: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        question = torch.zeros(together, 2, frames, pin_memory=self._pinned)
        return question, torch.zeros(together, self._stems, 2, frames, pin_memory=self._pinned)
