"""What every engine promises, as checks that run over any of them: stemd's own, and those of third parties.

``python -m stemd.engines.contract ENGINE MODEL`` runs all of them and says a line for each. Each check is a function
that takes a ``Subject`` (a made engine, the name of one of its models, a store) and raises ``AssertionError`` with
what is wrong; none depends on another. They take a few seconds each, longer where a segment does.
"""

from stemd.engines.contract import course, sound, words
from stemd.engines.contract.subject import Check, Subject

CHECKS: tuple[Check, ...] = (*words.CHECKS, *sound.CHECKS, *course.CHECKS)

__all__ = ["CHECKS", "Check", "Subject"]
