"""From stems to files: one gain for all, and rests that are exact however loud the stems are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.job import Output
from stemd.engines.audio import formats
from stemd.engines.audio.decode import open_source
from stemd.engines.base import SeparationRequest
from stemd.engines.checkpoint import ChunkStore
from stemd.engines.plan import make_plan
from stemd.engines.progress import Meter
from stemd.engines.render import Rendering

RATE = 44_100
MODEL = ("drums", "bass", "other", "vocals")
LOSSLESS = [("wav", "16"), ("wav", "24"), ("flac", "16"), ("flac", "24")]


class Rendered:
    """``original`` (frames) and the model's stems of it, on both channels, as files below ``home``."""

    def __init__(self, home: Path, form: tuple[str, str], original, stems, asked) -> None:
        for folder in (home / "chunks", home / "out"):
            folder.mkdir()
        self.original = both(original)
        soundfile.write(home / "song.wav", self.original, RATE, subtype="FLOAT")
        request = SeparationRequest(home / "song.wav", home / "chunks", home / "out", asked, Output(*form))
        source = open_source(request.source)
        frames = sum(len(block) for block in source.blocks())
        plan = make_plan(MODEL, asked)
        block = np.stack([both(stems[name]) for name in plan.needed], axis=1)
        store = ChunkStore(request.chunks, {}, frames, block.shape[1:], frames)
        store.open()
        store.append(block)
        target = formats.choose(request.output, RATE)
        rendering = Rendering(request, plan, source, target, store, RATE, Meter(lambda progress: None))
        rendering.verify(rendering.write())
        self.gain, self.step, self.warnings = rendering.gain, 2.0 ** (1 - int(form[1])), rendering.warnings
        self.files = {part.name: self._read(home / "out" / f"{part.name}.{form[0]}") for part in plan.parts}

    @property
    def error(self) -> float:
        """How far the sum of the files is from gain × source, in steps of the format."""
        return float(np.abs(sum(self.files.values()) - self.gain * self.original.astype(np.float64)).max()) / self.step

    @staticmethod
    def _read(path: Path) -> np.ndarray:
        return soundfile.read(path, dtype="float64", always_2d=True)[0]


def both(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames[:, None], 2, axis=1)


def hit(value: float) -> np.ndarray:
    """Silence, and one loud sample."""
    frames = np.zeros(1000, np.float32)
    frames[100] = value
    return frames


@pytest.mark.parametrize("form", LOSSLESS)
def test_a_rest_louder_than_its_stem_sets_the_gain(tmp_path, form):
    made = Rendered(tmp_path, form, hit(1.8), {"other": hit(-1.2)}, ("other", "no_other"))
    assert made.gain == pytest.approx(1 / 3, abs=1e-3)
    assert made.files["no_other"].max() < 1 - made.step
    assert made.error <= 1


@pytest.mark.parametrize("form", LOSSLESS)
def test_a_rest_alone_is_exact_whatever_its_stem_would_do(tmp_path, form):
    made = Rendered(tmp_path, form, hit(0.5), {"vocals": hit(1.4)}, ("no_vocals",))
    assert made.gain == 1
    assert made.files["no_vocals"][100] == pytest.approx(-0.9, abs=made.step)


@pytest.mark.parametrize(("value", "told"), [(0.5, []), (99.0, []), (1e4, ["80 dB softer"]), (9e9, ["199 dB softer"])])
def test_a_gain_that_leaves_next_to_nothing_is_told(tmp_path, value, told):
    made = Rendered(tmp_path, ("flac", "24"), hit(value), {"other": hit(value)}, ("other",))
    assert len(made.warnings) == len(told)
    assert all(text in warning for text, warning in zip(told, made.warnings, strict=True))
