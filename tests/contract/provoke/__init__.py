"""A way to provoke each code of the error table, with stemd's own code, through the door nearest to the user."""

from tests.contract.provoke import audio, configuration, deletion, engines, policy, spool, weights
from tests.contract.provoke.bench import PROVOCATIONS, Bench, Seen

__all__ = [
    "PROVOCATIONS",
    "Bench",
    "Seen",
    "audio",
    "configuration",
    "deletion",
    "engines",
    "policy",
    "spool",
    "weights",
]
