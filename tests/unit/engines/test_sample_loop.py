"""The song at any length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from stemd.engines.sample import loop


def test_each_file_has_its_length_and_is_its_own(tmp_path: Path):
    paths = loop.write(tmp_path / "audio", [25.0, 1.5, 1.5])
    sounds = [soundfile.read(path)[0] for path in paths]
    assert [sound.shape for sound in sounds] == [(1_102_500, 2), (66_150, 2), (66_150, 2)]
    assert np.array_equal(sounds[0][:220_500], sounds[0][882_000:]), "after 20 s the song begins again"
    assert not np.array_equal(sounds[1], sounds[2])
    assert all(0.01 < np.abs(sound).max() <= 0.5 for sound in sounds)
