"""What a stem of a mix is: its role from its file's name, and the family a role belongs to. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import PurePosixPath

FAMILIES = ("vocals", "drums", "bass", "guitar", "piano", "other")
#: Words that make a family: anywhere in a word of the name, or as the whole word (a number may follow).
_ANYWHERE = {
    "vocals": ("vocal", "vox", "voice", "choir", "acapella", "singer"),
    "drums": ("drum", "kick", "snare", "cymbal", "perc", "clap", "beat", "break", "crash", "shaker", "hihat"),
    "bass": ("bass",),
    "guitar": ("guitar",),
    "piano": ("piano", "rhodes", "keyboard"),
    "other": ("instrumental", "accompaniment", "karaoke"),
}
_WHOLE = {
    "vocals": ("voc", "bgv", "rap"),
    "drums": ("hat", "hats", "hh", "tom", "toms", "bd", "sd", "ride", "oh"),
    "bass": ("sub",),
    "guitar": ("gtr", "git"),
    "piano": ("keys",),
}
_OF_WORD = {
    name: re.compile("|".join([*words, *(rf"^{word}\d*$" for word in _WHOLE.get(name, ()))]))
    for name, words in _ANYWHERE.items()
}
#: What two words say together that one alone would not.
_PHRASES = (("other", re.compile(rf"\bno ({'|'.join(FAMILIES)})\b")), ("bass", re.compile(r"\bbass (guitar|gtr)\b")))
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_LONGEST = 40


def family(role: str) -> str:
    """The family of a role or of a file's name without suffix; what is in no other is of ``other``.

    The last word that says something counts: a song's title comes first.

    >>> family("Heartbeat - lead vox"), family("01 Bass Drum"), family("no_vocals"), family("pad")
    ('vocals', 'drums', 'other', 'other')
    """
    words = _SEPARATORS.sub(" ", role.lower()).split()
    for name, pattern in _PHRASES:
        if pattern.search(" ".join(words)):
            return name
    found = (name for word in reversed(words) for name, pattern in _OF_WORD.items() if pattern.search(word))
    return next(found, "other")


def by_role(files: Iterable[str]) -> Mapping[str, str]:
    """``files`` (paths) by role: the family's name where only one is of it, else a name made from the file's own.

    >>> by_role(["Song - Vocals.wav", "kick.wav", "hats.wav"])
    {'vocals': 'Song - Vocals.wav', 'kick': 'kick.wav', 'hats': 'hats.wav'}
    >>> by_role(["other.wav", "pad.wav"])
    {'other': 'other.wav', 'pad': 'pad.wav'}
    """
    files = list(files)
    names = _without_title([_words(file) for file in files])
    families = [family(" ".join(words)) for words in names]
    count = Counter(families)
    roles: dict[str, str] = {}
    for file, words, name in zip(files, names, families, strict=True):
        wanted = name if count[name] == 1 and name != "other" else "_".join(words)[:_LONGEST] or "stem"
        number = 1
        while (role := wanted if number == 1 else f"{wanted}_{number}") in roles:
            number += 1
        roles[role] = file
    return roles


def _words(file: str) -> list[str]:
    return _SEPARATORS.sub(" ", PurePosixPath(file).stem.lower()).split()


def _without_title(names: list[list[str]]) -> list[list[str]]:
    """Without the words that all names begin with, where those are the song's: some instrument is named after them."""
    common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False)))
    rests = [words[common:] for words in names]
    told = all(rests) and any(family(" ".join(words)) != "other" for words in rests)
    return rests if len(names) > 1 and told else names
