"""Names for the points a crash can fall between.

Each step of the protocol calls ``step`` when it is complete. In production that is one comparison; a test installs
a hook that ends the process at the k-th step, and so visits every state a crash can leave behind.
"""

from __future__ import annotations

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def install(hook: Callable[[str], None] | None) -> None:
    """Call ``hook(name)`` at every step from now on; ``None`` removes it."""
    global _hook  # noqa: PLW0603  one hook for the whole process is the point
    _hook = hook


def step(name: str) -> None:
    """The step called ``name`` (such as ``C2``) is complete."""
    if _hook is not None:
        _hook(name)
