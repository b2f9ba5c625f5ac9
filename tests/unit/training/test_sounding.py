"""Sound from notes: repeatable, finite, within bounds; stems go on adding up whatever is done to the whole."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stemd.core.errors import StemdError
from stemd.training.composing.song import Part, Song, compose
from stemd.training.composing.theory import Note
from stemd.training.sounding import codec, effects, kit, mastering, singing, synth, voicebank
from stemd.training.sounding.fluid import Fluid
from stemd.training.sounding.instruments import Studio
from stemd.training.sounding.render import render
from stemd.training.terms import RATE, rms
from tests.unit.training.conftest import HELD_OUT_FONT, needs_sound, tones

FRAMES = 2 * RATE
NOTES = [Note(0.1, 0.4, 60, 100), Note(0.6, 0.5, 64, 90), Note(1.2, 3.0, 67, 80)]


def _pitch(sound: np.ndarray) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(sound.mean(0)))
    return float(np.argmax(spectrum) * RATE / sound.shape[1])


@pytest.mark.parametrize("family", ["bass", "pads", "leads"])
def test_synthesisers_are_repeatable_and_bounded(family: str):
    def play(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        return synth.play(random, NOTES, FRAMES, synth.patch(random, family))

    assert np.array_equal(play(1), play(1))
    assert not np.array_equal(play(1), play(2))
    for seed in range(8):
        sound = play(seed)
        assert sound.shape == (2, FRAMES) and sound.dtype == np.float32
        assert np.isfinite(sound).all() and 1e-3 < np.abs(sound).max() < 10
        assert np.abs(sound[:, : int(0.09 * RATE)]).max() == 0, "nothing sounds before its note"


def test_a_string_has_the_pitch_of_its_note():
    sound = synth.pluck(np.random.default_rng(1), [Note(0.0, 1.9, 57, 100)], FRAMES)
    assert min(abs(_pitch(sound) / 220 - harmonic) for harmonic in (1, 2, 3)) < 0.02


def test_a_kit_plays_what_it_has_and_passes_over_the_rest():
    random = np.random.default_rng(0)
    sound = kit.play(random, [Note(0.5, 0.1, 36, 100), Note(1.0, 0.1, 99, 100)], FRAMES)
    assert np.abs(sound[:, : RATE // 2]).max() == 0
    assert np.abs(sound[:, RATE // 2 :]).max() > 0.1


def test_effects():
    sound = tones(1, 2.0)[2]
    random = np.random.default_rng(1)
    assert effects.reverb(random, sound, 0.3).shape == sound.shape
    left = effects.place(sound, -1.0)
    assert rms(left[1]) < 1e-6 < rms(left[0])
    mono = effects.place(sound, 0.0, 0.0)
    assert np.allclose(mono[0], mono[1], atol=1e-6)
    click = np.zeros((2, RATE), np.float32)
    click[0, 0] = 1
    assert effects.echo(click, 0.25, 0.5)[1, RATE // 4] == 0.5, "the first repeat is on the other side"
    assert np.abs(effects.drive(np.full((2, 4), 5, np.float32), 2.0)).max() < 1.05
    assert not effects.rests(random, sound, 0.5, 1.0).any()


@pytest.mark.parametrize("seed", range(12))
def test_mastered_stems_add_up_to_the_mastered_song(seed: int):
    """What is done to the sum is done to each stem: both ways give the same."""
    stems, style = tones(seed, 2.0), mastering.draw(np.random.default_rng(seed))
    done = mastering.master(stems, style)
    assert done.shape == stems.shape and np.isfinite(done).all()
    alone = mastering.master(stems.sum(0, keepdims=True), style)
    assert np.abs(done.sum(0) - alone[0]).max() < 1e-4
    if style.name != "none":
        assert np.abs(done.sum(0)).max() <= 1.0
        assert not np.allclose(done, stems)


def test_all_styles_are_drawn():
    assert {mastering.draw(np.random.default_rng(seed)).name for seed in range(60)} == {
        "none",
        "glued",
        "loud",
        "pumping",
    }


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="not installed: ffmpeg")
@pytest.mark.parametrize("name", sorted(codec.CODECS))
def test_a_codec_returns_the_sound_in_time(name: str):
    sound = tones(2, 2.0).sum(0)
    back = codec.through(sound, name, codec.CODECS[name][1][-1])
    assert back.shape == sound.shape
    error = rms((back - sound)[:, 4096:-4096]) / rms(sound)
    assert 0 < error < 0.35, "changed, but not late"
    silence = np.zeros_like(sound)
    assert codec.through(silence, name, 96) is silence


def test_no_soundfont_is_an_explained_error(tmp_path):
    with pytest.raises(StemdError, match=r"soundfont|libfluidsynth"):
        Fluid(tmp_path / "none.sf2")


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    folder = tmp_path_factory.mktemp("voices")
    for number, voice in enumerate(voicebank.VOICES["held-out"][:2]):
        voicebank.speak(voice, number, 1, 2, folder)
    return Studio(Fluid(HELD_OUT_FONT), voicebank.load(folder, "held-out"))


@needs_sound
def test_the_soundfont_plays_the_notes_it_is_given(studio: Studio):
    sound = studio.fluid.play([Note(0.5, 1.4, 69, 100)], 73, FRAMES)
    assert np.abs(sound[:, : int(0.49 * RATE)]).max() < 1e-4
    assert abs(_pitch(sound) - 440) < 8
    assert np.array_equal(sound, studio.fluid.play([Note(0.5, 1.4, 69, 100)], 73, FRAMES))


@needs_sound
def test_a_singer_sings_the_melody_in_her_range(studio: Studio):
    singer = singing.draw(np.random.default_rng(3), studio.voices)
    line = singing.sing(np.random.default_rng(1), NOTES, FRAMES, singer)
    again = singing.sing(np.random.default_rng(1), NOTES, FRAMES, singer)
    assert line.shape == (FRAMES,) and np.isfinite(line).all() and np.abs(line).max() > 0
    assert np.array_equal(line, again)
    spoken = singing.sing(np.random.default_rng(1), NOTES, FRAMES, singer, talk=True)
    assert not np.array_equal(line, spoken)


@needs_sound
def test_a_voice_that_was_spoken_is_not_spoken_again(tmp_path):
    path = voicebank.speak("en+f5", 0, 1, 1, tmp_path)
    before = path.stat().st_mtime_ns
    assert voicebank.speak("en+f5", 0, 1, 1, tmp_path).stat().st_mtime_ns == before
    with pytest.raises(StemdError, match="xx-none"):
        voicebank.speak("xx-none", 0, 1, 1, tmp_path)


@needs_sound
def test_people_sing_too(tmp_path: Path):
    """flite's voices end at 8 kHz, and what is above is filled; where there are both, each sings half the songs."""
    for number, voice in enumerate(("flite-slt", "en+m1")):
        voicebank.speak(voice, number, 1, 2, tmp_path)
    bank = voicebank.load(tmp_path, "training")
    assert set(bank) == {"flite-slt", "en+m1"} and voicebank.is_female("flite-slt")
    spectrum = np.exp(bank["flite-slt"][0].spectrum.astype(np.float64)).mean(0)
    hertz = np.arange(len(spectrum)) * RATE / voicebank.FFT
    bands = [spectrum[(hertz > low) & (hertz < low + 1000)].mean() for low in (6500, 8500, 12_000, 18_000)]
    assert all(1 < lower / higher < 300 for lower, higher in pairwise(bands)), "no hole, and no cliff"
    random = np.random.default_rng(1)
    drawn = [singing.draw(random, bank).words is bank["flite-slt"] for _ in range(60)]
    assert 15 < sum(drawn) < 45
    assert singing.draw(np.random.default_rng(1), {"en+m1": bank["en+m1"]}).words is bank["en+m1"]
    with pytest.raises(StemdError, match="flite does not speak as flite-nobody"):
        voicebank.speak("flite-nobody", 0, 1, 1, tmp_path)


def test_no_held_out_voice_sings_in_training():
    training, held_out = (set(voicebank.VOICES[kind]) for kind in ("training", "held-out"))
    assert not training & held_out
    assert not {voice.split("+")[-1] for voice in training} & {voice.split("+")[-1] for voice in held_out}


@needs_sound
def test_a_song_renders_the_same_again_and_absent_stems_are_silent(studio: Studio):
    song = compose(1, 6, 2.0)
    song = Song(song.seed, song.number, song.genre, song.beat, song.seconds, tuple(
        part for part in song.parts if part.stem != "bass"
    ))  # fmt: skip
    first, second = render(song, studio, coded=0.0), render(song, studio, coded=0.0)
    assert np.array_equal(first.stems, second.stems)
    assert not first.stems[1].any()
    assert rms(first.stems) > 1e-3


@needs_sound
def test_a_part_without_notes_is_silent(studio: Studio):
    song = Song(1, 1, "pop", 0.5, 1.0, (Part("bass", "sampled", (), "bass"),))
    assert not render(song, studio, coded=0.0).stems.any()
