"""What a mix leaves in the outbox: the mix in its formats, stems as processed, report, peaks and picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemd.engines.audio import cover
from stemd.engines.audio.cover import Cover
from stemd.engines.audio.tags import song_tags, stem_tags
from stemd.engines.base import MixRequest, MixResult, SourceFacts
from stemd.engines.faults import writing
from stemd.engines.mix import pictures, rendering
from stemd.engines.mix.brief import Brief
from stemd.engines.mix.export import Exported, Stream, Wanted, export
from stemd.engines.mix.loading import Stem
from stemd.engines.mix.parameters import Parameters
from stemd.engines.mix.report import Facts, report
from stemd.engines.mix.settings import Format
from stemd.engines.mix.shelf import Shelf

if TYPE_CHECKING:
    from stemd.engines.base import Frames

MIX = "final_mix"
REPORT, PEAKS, PICTURE = "report.json", "peaks.json", "waveform.png"
_LOSSLESS = ("wav", "flac")
_NEAR_LU = 0.2
"""What a file's loudness may be off without a word about it."""


@dataclass(slots=True)
class Deliverables:
    """Made below ``request.out`` from what is on the shelf; a plan only has its report."""

    request: MixRequest
    brief: Brief
    shelf: Shelf
    stems: Mapping[str, Stem]
    parameters: Parameters
    alignment: Mapping[str, Any]
    rate: int
    frames: int
    made: list[Exported] = field(default_factory=list)

    @property
    def work(self) -> int:
        """Frames of all that is exported, written and read back."""
        return 2 * self.frames * sum(1 for _ in self._wanted(None))

    @property
    def documents(self) -> tuple[str, ...]:
        return (REPORT,) if self.brief.settings.plan_only else (REPORT, PEAKS, PICTURE)

    def make(self, advance: Callable[[int], None]) -> None:
        """Write the audio files, and read each back."""
        art = cover.load(self.request.art) if self.request.art else None
        for opened, wanted in self._wanted(art):
            lower = None
            if wanted.ceiling_dbtp is not None:
                lower = partial(rendering.lower, self.shelf, self.parameters.master, self.rate)
            self.made.append(export(Stream(opened, self.rate, self.frames, lower), wanted, advance))

    def result(self, timings: Mapping[str, float], warnings: list[str]) -> MixResult:
        """Write the documents and say what there is."""
        warnings = [*warnings, *(text for each in self.made for text in each.warnings), *self._unreached()]
        facts = Facts(self.brief, self.parameters, self.alignment, self.stems, self.rate, self.frames)
        self._write(REPORT, _json(report(facts, self.shelf, self.made, timings, warnings)))
        if not self.brief.settings.plan_only:
            gains = {role: track.trim_db or 0.0 for role, track in self.parameters.tracks.items()}
            shown = pictures.document(self.shelf, gains, self.rate)
            self._write(PEAKS, _json(pictures.published(shown), compact=True))
            self._write(PICTURE, pictures.draw(shown, self.request.title))
        master = next((each.file for each in self.made if each.file.stem == MIX), None)
        return MixResult(
            source=SourceFacts(self.frames, self.rate, 2, f"mix of {len(self.stems)}", self._common_tags()),
            inputs={role: stem.facts for role, stem in self.stems.items()},
            files=tuple(each.file for each in self.made),
            documents=self.documents,
            settings={"preset": self.brief.preset, "plan_only": self.brief.settings.plan_only},
            timings=timings,
            chunks={"total": self.shelf.count, "reused": self.shelf.reused, "resumes": self.shelf.resumes},
            warnings=tuple(warnings),
            gain_db=self.made[0].gain_db if master else 0.0,
        )

    def _wanted(self, art: Cover | None) -> Iterator[tuple[Callable[[], Iterator[Frames]], Wanted]]:
        """Each file to make, with what opens its audio."""
        settings = self.brief.settings
        if settings.plan_only:
            return
        limiter, taken = self.parameters.master.limiter, set[str]()
        tags = song_tags(self._common_tags(), self.request.tags, self.request.stamp, self.request.title or MIX)
        for each in self.brief.formats:
            name = f"{MIX}.{each.codec}"
            if name in taken:
                name = f"{MIX}_{each.bits}.{each.codec}"
            taken.add(name)
            yield (
                partial(self.shelf.read, rendering.MASTER),
                Wanted(
                    self.request.out / name,
                    MIX,
                    each,
                    settings.export.dither,
                    {**tags, "STEMD_STEM": MIX},
                    art,
                    limiter.ceiling_dbtp if limiter else None,
                ),
            )
        if settings.export.processed_stems:
            form = next((each for each in self.brief.formats if each.codec in _LOSSLESS), Format())
            for role, stem in self.stems.items():
                tags = stem_tags(stem.facts.tags, self.request.tags, self.request.stamp, role, role)
                path = self.request.out / f"{role}.{form.codec}"
                opened = partial(rendering.trimmed, self.shelf, role, self.parameters.tracks[role])
                yield opened, Wanted(path, role, form, settings.export.dither, tags, art)

    def _common_tags(self) -> dict[str, str]:
        """What all stems say of themselves alike; the title is a stem's own."""
        every = [stem.facts.tags.items() for stem in self.stems.values()]
        common = reduce(lambda left, right: left & right, (set(items) for items in every))
        return {key: value for key, value in sorted(common) if key.upper() != "TITLE"}

    def _unreached(self) -> list[str]:
        """What the mix, or a file of it, lacks of the loudness asked for."""
        loudness = (self.shelf.fact(rendering.MASTER) or {}).get("loudness", {})
        wanted = self.parameters.master.loudness
        if wanted is None or not loudness:
            return []
        if loudness["measured_lufs"] is None:
            return ["the mix is silent, or too short to have a loudness: its level is as it was"]
        warnings, due, near = [], wanted.target_lufs, max(_NEAR_LU, wanted.tolerance_lu)
        if not loudness["reached"]:
            due, near = loudness["measured_lufs"], _NEAR_LU
            found = f"{due:.1f} LUFS instead of {wanted.target_lufs:g}"
            warnings.append(f"the loudness asked for was not reached: it is {found}")
        for each in self.made:
            lufs = each.measured.integrated_lufs
            if each.file.stem == MIX and lufs is not None and abs(lufs - due) > near:
                warnings.append(f"{each.file.name} has {lufs:.1f} LUFS instead of {due:.1f}")
        return warnings

    def _write(self, name: str, data: bytes) -> None:
        path: Path = self.request.out / name
        with writing(path):
            path.write_bytes(data)


def _json(document: Mapping[str, Any], *, compact: bool = False) -> bytes:
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, **layout).encode() + b"\n"
