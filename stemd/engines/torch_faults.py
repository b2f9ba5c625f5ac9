"""What goes wrong in torch, and what keeps it fast: for whoever calls a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stemd.core.errors import StemdError

#: How torch, CUDA's libraries and OpenVINO say that memory ran out.
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "bad allocation", "out of memory", "ALLOC_FAILED")


@contextmanager
def memory_errors() -> Iterator[None]:
    """The ways to say that memory ran out, as STEMD-R001."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_memory(error):
            raise StemdError("STEMD-R001", str(error).splitlines()[0] if str(error) else "memory ran out") from error
        raise


@contextmanager
def failures() -> Iterator[None]:
    """Whatever goes wrong in a network: STEMD-R001 where memory ran out, STEMD-E006 else."""
    try:
        with memory_errors():
            yield
    except StemdError:
        raise
    except Exception as error:
        raise StemdError("STEMD-E006", f"{type(error).__name__}: {error}") from error


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Numbers next to nothing count as 0 in here: a CPU is far slower on them, and fade-outs are full of them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def is_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(said in str(error) for said in _NO_MEMORY)
