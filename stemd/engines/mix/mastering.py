"""The master: its chain, and the gain in front of the limiter that gives the loudness asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemd.engines.audio.loudness import Loudness as Meter
from stemd.engines.mix.chain import track_chain
from stemd.engines.mix.gain import Gain
from stemd.engines.mix.limiter import Limit
from stemd.engines.mix.parameters import Loudness, Master, Spatial, Track
from stemd.engines.mix.processor import Processor, run

if TYPE_CHECKING:
    from stemd.engines.base import Frames

MOST_PASSES = 4
MOST_GAIN_DB = 30.0
_STEEPEST, _FLATTEST_FIRST, _FLATTEST = 1.0, 0.2, 0.1
_SAME_DB = 0.005
_GATE_LUFS = -70.0
"""What is too quiet to have a loudness is at most this loud."""

Stream = Callable[[], Iterator["Frames"]]
AtGain = Callable[[float], float | None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A gain in front of the limiter, and the integrated loudness after it."""

    gain_db: float
    lufs: float


@dataclass(frozen=True, slots=True)
class Solution:
    """The gain in front of the limiter and what comes out with it; ``None`` for what has no loudness.

    ``reached``: the loudness asked for, within its tolerance, or none was. ``passes`` are those over the stream,
    ``history`` the gains that were tried.
    """

    gain_db: float
    measured_lufs: float | None
    reached: bool
    passes: int
    history: tuple[Trial, ...] = ()


def master_chain(master: Master, rate: int) -> list[Processor]:
    """What comes before the gain and the limiter: bands, compressor, width; without what would do nothing.

    The width must be here: after the limiter it would lift one channel above the ceiling.
    """
    tone = track_chain(Track(eq=master.eq, comp=master.comp), rate)
    return tone + track_chain(Track(spatial=Spatial(width=master.width)), rate)


def limited(stream: Stream, gain_db: float, master: Master, rate: int) -> tuple[Processor, Iterator[Frames]]:
    """The last stage (the limiter, or a plain gain where there is none) and the ``stream`` that comes out of it.

    The stage's ``facts`` are complete when the stream has ended.
    """
    stage = Limit(master.limiter, rate, gain_db) if master.limiter else Gain(gain_db)
    return stage, run([stage], stream())


def solve(
    stream: Stream,
    master: Master,
    rate: int,
    on_block: Callable[[int], None] = lambda frames: None,
    unlimited: AtGain | None = None,
) -> Solution:
    """The gain with which ``stream`` (frames × 2; read again in every pass) has the loudness ``master`` asks for.

    ``unlimited`` says how loud the stream is at a gain and without the limiter (``ProgramMeter.integrated``); without
    it the first of the ``MOST_PASSES`` measures that. A target that these do not reach, or not with 30 dB of gain, gets
    what came nearest, with the least gain. What has no loudness (silence, or less than 400 ms) keeps its level.
    ``on_block`` gets the frames of each block that was measured.
    """
    return _Search(stream, master, rate, on_block).solution(unlimited)


@dataclass(slots=True)
class _Search:
    stream: Stream
    master: Master
    rate: int
    on_block: Callable[[int], None]
    passes: int = 0

    def solution(self, unlimited: AtGain | None) -> Solution:
        wanted = self.master.loudness
        if wanted is None:
            return Solution(0.0, None, True, 0)
        if unlimited is None:
            unlimited = self._measured(self.stream()).integrated
        gain = _without_limiter(unlimited, wanted.target_lufs)
        if gain is None:
            return Solution(0.0, None, False, self.passes)
        trials = self._trials(gain, wanted) if self.master.limiter else [Trial(gain, _known(unlimited(gain)))]
        best = min(trials, key=lambda trial: (round(_off(trial, wanted), 1), trial.gain_db))
        best = trials[-1] if _hits(trials[-1], wanted) else best
        return Solution(best.gain_db, best.lufs, _hits(best, wanted), self.passes, tuple(trials))

    def _trials(self, gain: float, wanted: Loudness) -> list[Trial]:
        trials: list[Trial] = []
        while self.passes < MOST_PASSES and all(abs(gain - trial.gain_db) > _SAME_DB for trial in trials):
            lufs, over = self._limited(gain)
            trials.append(Trial(gain, _known(lufs)))
            if _hits(trials[-1], wanted):
                break
            gain = min(MOST_GAIN_DB, _next(trials, over, wanted.target_lufs))
        return trials

    def _limited(self, gain_db: float) -> tuple[float | None, float]:
        """The loudness at a gain, and by how many dB the limiter had to lower the highest peak."""
        stage, blocks = limited(self.stream, gain_db, self.master, self.rate)
        lufs = self._measured(blocks).integrated()
        return lufs, stage.max_reduction_db if isinstance(stage, Limit) else 0.0

    def _measured(self, blocks: Iterator[Frames]) -> Meter:
        self.passes += 1
        loudness = Meter(self.rate, 2)
        for block in blocks:
            loudness.add(block)
            self.on_block(len(block))
        return loudness


def _without_limiter(unlimited: AtGain, target: float) -> float | None:
    """The gain to ``target`` where nothing limits: a difference, and again for what the gain lifts over the gate."""
    gain = 0.0
    for _ in range(3):
        lufs = unlimited(gain)
        if lufs is None:
            return None
        gain = min(MOST_GAIN_DB, gain + target - lufs)
    return gain


def _off(trial: Trial, wanted: Loudness) -> float:
    return abs(trial.lufs - wanted.target_lufs)


def _hits(trial: Trial, wanted: Loudness) -> bool:
    return _off(trial, wanted) <= wanted.tolerance_lu


def _known(lufs: float | None) -> float:
    return _GATE_LUFS if lufs is None else lufs


def _next(trials: list[Trial], over_db: float, target: float) -> float:
    """The gain to try after ``trials``, from a slope: of the two nearest to ``target`` (secant), or of the first.

    There the loudness lost in the limiter is taken for the square of how far the gain exceeds that at which limiting
    begins (``over_db``): music loses some 0.3, 0.9, 1.7 LU at 4, 6, 8 dB over.
    """
    nearest, *others = sorted(trials, key=lambda trial: abs(trial.lufs - target))
    missing = target - nearest.lufs
    if others:
        slope, flattest = (nearest.lufs - others[0].lufs) / (nearest.gain_db - others[0].gain_db), _FLATTEST
    else:
        slope, flattest = 1 - 2 * missing / max(over_db, abs(missing)), _FLATTEST_FIRST
    return nearest.gain_db + missing / min(_STEEPEST, max(flattest, slope))
