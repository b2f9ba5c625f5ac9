"""What the stems of any source have in common with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemd.core.job import Output
from stemd.engines.base import TrackStats
from stemd.engines.contract.subject import ALIKE, TRUE_SUM, Check, Separated, Subject, require

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_FLAC = Output("flac", "24")
_REST = {"residual": "file"}


def keeps_frames_rate_and_channels(subject: Subject) -> None:
    """Mono, stereo, 22.05 and 96 kHz, 5.1 (folded to two channels): the stems are as the source, and sum to it."""
    for rate, channels in ((44_100, 1), (44_100, 2), (22_050, 2), (96_000, 2), (48_000, 6)):
        frames, kept = rate // 3 + 1, min(2, channels)
        mix = subject.noise(frames, channels)
        found = subject.separate(mix, rate, options=_REST)
        what = f"{channels} channels at {rate} Hz"
        for file in found.result.files:
            facts, wanted = (file.frames, file.sample_rate, file.channels), (frames, rate, kept)
            require(facts == wanted, f"{what}: {file.stem} has frames, rate, channels {facts}, not {wanted}")
        _finite(found, what)
        if channels == kept:
            _sums_to(mix, found, what)
        else:
            require(found.result.warnings, "5.1 was folded without a word")


def takes_a_track_of_any_length(subject: Subject) -> None:
    """One frame, two, and a last segment of one frame give as many, and sum to them."""
    stride = min(lane.stride for lane in subject.lanes())
    for frames in (1, 2, stride + 1):
        what, mix = f"a track of {frames} frames", subject.noise(frames)
        found = subject.separate(mix, options=_REST)
        given = {file.frames for file in found.result.files}
        require(given == {frames}, f"{what} gives {given}")
        _finite(found, what)
        _sums_to(mix, found, what)


def keeps_silence_silent(subject: Subject) -> None:
    """Nothing but zeros gives nothing but zeros; what follows sound, or is next to silence, stays finite."""
    frames = subject.several(2)
    found = subject.separate(np.zeros((frames, 2), np.float32))
    loud = [stem for stem, values in found.stems.items() if values.any()]
    require(not loud, f"silence gives sound in {', '.join(loud)}")
    for lane in subject.lanes():
        subject.engine.begin(TrackStats(frames, 0.0, 0.0, 0.0))
        batch = np.zeros((1, subject.engine.window(lane, lane.segment), 2), np.float32)
        for stem, values in subject.engine.separate_segments(lane, batch).items():
            require(np.isfinite(values).all(), f"a silent segment gives numbers in {stem} that are not finite")
    mix = subject.noise(frames)
    mix[frames // 3 :] = 0
    _finite(subject.separate(mix), "sound, then silence")
    _finite(subject.separate(subject.noise(frames) * 1e-7), "what is next to silence")


def takes_a_constant(subject: Subject) -> None:
    """A source that is one number all the way (DC) has stems that are finite and sum to it."""
    mix = np.full((subject.several(1), 2), 0.5, np.float32)
    found = subject.separate(mix, options=_REST)
    _finite(found, "a constant")
    _sums_to(mix, found, "a constant")


def shares_one_gain_where_pcm_would_clip(subject: Subject) -> None:
    """Square waves far beyond full scale: no stem clips, none is scaled alone, and the sum is the gain × the source."""
    frames = subject.several(1)
    square = np.sign(np.sin(np.arange(frames, dtype=np.float32) / 20) + 0.01)
    mix = np.stack([square, -square], axis=1).astype(np.float32) * 4
    found = subject.separate(mix, output=_FLAC, options=_REST)
    require(found.gain < 1, "the gain is 1 for a source four times full scale")
    require(max(file.peak for file in found.result.files) <= 1, "a stem is beyond full scale")
    _sums_to(mix, found, "clipping material")


def takes_numbers_that_are_none(subject: Subject) -> None:
    """NaN and infinity in a source count as 0, and the manifest warns."""
    mix = subject.noise(subject.several(1))
    good = mix.copy()
    mix[10:20, 0], mix[30, 1], mix[40] = np.nan, np.inf, -np.inf
    good[10:20, 0], good[30, 1], good[40] = 0, 0, 0
    found = subject.separate(mix, options=_REST)
    require(found.result.warnings, "NaN in the source, and no warning")
    _finite(found, "NaN in the source")
    _sums_to(good, found, "NaN in the source")


def gives_only_the_stems_asked_for(subject: Subject) -> None:
    """One stem asked for is one file, and what it is among all of them."""
    mix = subject.noise(subject.several(2))
    whole = subject.separate(mix).stems
    require(tuple(whole) == subject.info.stems, f"all stems asked for, there are {', '.join(whole)}")
    for stem in subject.info.stems[:2]:
        found = subject.separate(mix, stems=(stem,)).stems
        require(tuple(found) == (stem,), f"{stem} asked for, there are {', '.join(found)}")
        apart = float(np.abs(found[stem] - whole[stem]).max())
        require(apart <= ALIKE, f"{stem} differs by {apart:.2g} when it is asked for alone")


def splits_into_a_target_and_the_exact_rest(subject: Subject) -> None:
    """``[T, no_T]`` are two files that sum to the source."""
    mix, stem = subject.noise(subject.several(2)), subject.info.stems[0]
    source = subject.source()
    soundfile.write(source, mix, subject.info.sample_rate, subtype="PCM_24")
    found = subject.separate_file(source, stems=(stem, f"no_{stem}"), output=_FLAC)
    require(tuple(found.stems) == (stem, f"no_{stem}"), f"there are {', '.join(found.stems)}")
    _sums_to(mix, found, f"{stem} and no_{stem}")


def _finite(found: Separated, what: str) -> None:
    odd = [stem for stem, values in found.stems.items() if not np.isfinite(values).all()]
    require(not odd, f"{what}: numbers that are not finite in {', '.join(odd)}")


def _sums_to(mix: Frames, found: Separated, what: str) -> None:
    apart = float(np.abs(found.total - found.gain * mix).max()) / max(1.0, found.gain * float(np.abs(mix).max()))
    require(apart <= TRUE_SUM, f"{what}: the stems and the rest differ from the source by {apart:.2g} of full scale")


CHECKS: tuple[Check, ...] = (
    keeps_frames_rate_and_channels,
    takes_a_track_of_any_length,
    keeps_silence_silent,
    takes_a_constant,
    shares_one_gain_where_pcm_would_clip,
    takes_numbers_that_are_none,
    gives_only_the_stems_asked_for,
    splits_into_a_target_and_the_exact_rest,
)
