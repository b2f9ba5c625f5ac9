"""A lag is found where two streams share sound, and is not believed where they do not."""

from itertools import islice

import numpy as np
import pytest

from stemd.engines.mix.align import Lag, estimate

RATE = 44_100
SECONDS = 10
FRAMES = SECONDS * RATE
GATE = 20.0
MILLISECOND = RATE // 1000


def noise(seed: int, db: float, frames: int = FRAMES):
    return np.random.default_rng(seed).standard_normal(frames) * 10 ** (db / 20)


def clicks(times, frames: int = FRAMES):
    """Short bursts, each another one, of about full scale."""
    track, length = np.zeros(frames), 900
    shape = np.exp(-np.arange(length) / 130) * 0.4
    for index, time in enumerate(times):
        if 0 <= time < frames - length:
            track[time : time + length] += shape * np.random.default_rng(index).standard_normal(length)
    return track


def random_times(seed: int, count: int = 3 * SECONDS):
    return np.sort(np.random.default_rng(seed).integers(RATE, FRAMES - RATE, count))


def every(seconds: float, start: int = 0):
    return range(start, FRAMES, round(seconds * RATE))


def melody(seed: int):
    """Held notes with overtones."""
    random = np.random.default_rng(seed)
    track = np.zeros(FRAMES)
    for start in range(0, FRAMES, RATE // 3):
        time = np.arange(min(RATE // 3, FRAMES - start)) / RATE
        hz = 110 * 2 ** (random.integers(0, 24) / 12)
        tones = [np.sin(2 * np.pi * hz * n * time + random.uniform(0, 6)) / n for n in range(1, 10)]
        track[start : start + len(time)] = 0.3 * np.sum(tones, axis=0) * np.exp(-3 * time)
    return track


def sine(hz: float):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(FRAMES) / RATE)


def later(track, shift: int):
    return np.roll(np.pad(track, abs(shift)), shift)[abs(shift) : len(track) + abs(shift)]


def lag(stem, anchor, size: int = 65_536, max_shift_ms: float = 1000, gate: float = GATE) -> Lag:
    def stream(track):
        stereo = np.stack([track, track], axis=1).astype(np.float32)
        return lambda: (stereo[at : at + size] for at in range(0, len(stereo), size))

    return estimate(stream(stem), stream(anchor), RATE, max_shift_ms, gate)


@pytest.mark.parametrize("shift", [0, 13, 997, 11_025, -11_025, 40_000])
def test_clicks_under_noise(shift):
    times = random_times(1)
    found = lag(clicks(times + shift) + noise(1, -40), clicks(times) + noise(2, -40))
    assert abs(found.frames - shift) <= 1
    assert found.confidence >= GATE


@pytest.mark.parametrize("db", [-40, -26])
def test_single_samples_count_as_clicks(db):
    track = np.zeros(FRAMES)
    track[random_times(2)] = 1
    found = lag(later(track, 441) + noise(1, db), track + noise(2, db))
    assert abs(found.frames - 441) <= 1


@pytest.mark.parametrize("which", ["stem", "anchor"])
def test_the_first_onset_is_missing(which):
    times = random_times(3)
    both = {"stem": clicks(times + 3001), "anchor": clicks(times)}
    both[which][: times[0] + 3001 + 1000] = 0
    found = lag(both["stem"] + noise(1, -26), both["anchor"] + noise(2, -26))
    assert abs(found.frames - 3001) < MILLISECOND


BLEEDS = {
    "drums in a melody": (clicks(random_times(5)) + noise(5, -70), melody(4)),
    "drums in a tone": (clicks(random_times(5)) + noise(5, -70), sine(330) + noise(4, -60)),
    "noise in noise": (noise(5, -12), noise(4, -14)),
}


@pytest.mark.parametrize(("anchor", "other"), BLEEDS.values(), ids=BLEEDS.keys())
def test_a_little_of_the_anchor_in_another_stem(anchor, other):
    found = lag(other + 0.03 * later(anchor, 2222), anchor)
    assert abs(found.frames - 2222) < MILLISECOND
    assert found.confidence >= GATE


def test_opposite_polarity_and_opposite_channels():
    track = noise(6, -20)
    assert lag(-later(track, 700), track).frames == 700
    wide = np.stack([track, -track], axis=1).astype(np.float32)
    found = estimate(lambda: iter([wide[:-700]]), lambda: iter([wide[700:]]), RATE, 1000, GATE)
    assert found.frames == 700


UNRELATED = {
    "noises": (noise(7, -20), noise(8, -20)),
    "rhythms": (clicks(every(0.5)), clicks(every(60 / 97))),
    "rhythms in noise": (clicks(every(0.5)) + noise(7, -60), clicks(every(60 / 97, 5000)) + noise(8, -60)),
    "random hits": (clicks(random_times(7)), clicks(random_times(8))),
    "two hits each": (clicks(random_times(7, 2)), clicks(random_times(8, 2))),
    "melodies": (later(melody(7), 5000), melody(8)),
    "sine and noise": (sine(440), noise(7, -20)),
    "sines": (sine(440), sine(443)),
    "silence": (np.zeros(FRAMES), noise(7, -20)),
    "silences": (np.zeros(FRAMES), np.zeros(FRAMES)),
    "nothing": (np.zeros(0), np.zeros(0)),
    "nothing against something": (np.zeros(0), noise(7, -20)),
}


@pytest.mark.parametrize("pair", UNRELATED.values(), ids=UNRELATED.keys())
def test_unrelated_stems_stay_where_they_are(pair):
    found = lag(*pair)
    assert found.frames == 0
    assert found.confidence < GATE


def test_chance_has_a_low_confidence():
    assert 3 < lag(*UNRELATED["noises"]).confidence < 10


def test_quiet_parts_hardly_count():
    """Five seconds in common, then a minute of two microphones' own noise."""
    long = 60 * RATE
    shared = np.pad(noise(9, -20, 5 * RATE), (0, long - 5 * RATE))
    assert lag(later(shared, 300) + noise(1, -60, long), shared + noise(2, -60, long)).frames == 300


@pytest.mark.parametrize("shift", [1323, 10_000, 11_025])
def test_a_steady_click_is_moved_by_the_smallest_shift_or_not_at_all(shift):
    steady = clicks(np.array(every(0.5)))
    same_click = np.zeros(FRAMES)
    same_click[:: RATE // 2] = 1
    for track in (steady, same_click):
        found = lag(later(track, shift) + noise(1, -60), track + noise(2, -60))
        assert found.frames == 0 or abs(found.frames - shift) <= 1


def test_an_even_rhythm_of_equal_hits_is_ambiguous():
    """Half a beat late or half a beat early: nobody can know."""
    click = np.zeros(FRAMES)
    click[RATE // 2 : -RATE // 2 : RATE // 2] = 1
    found = lag(later(click, RATE // 4) + noise(1, -50), click + noise(2, -50))
    assert found.frames == 0


def test_a_shift_beyond_the_longest_allowed_is_none():
    track = noise(9, -20)
    assert lag(later(track, 2000), track, max_shift_ms=60).frames == 2000
    assert lag(later(track, 2000), track, max_shift_ms=40).frames == 0
    assert lag(later(track, 200), track, max_shift_ms=4).frames == 0
    assert lag(later(track, 1), track, max_shift_ms=0.1).frames == 1
    louder_beyond = later(track, 20) + 2 * later(track, 400)
    assert lag(louder_beyond, track, max_shift_ms=2).frames == 0
    spectrum = np.fft.rfft(track)
    spectrum[150 * SECONDS :] = 0
    bass = np.fft.irfft(spectrum, FRAMES)
    assert lag(later(bass, 250), bass, max_shift_ms=4).frames == 0, "the flank of a wide peak is none"
    assert lag(later(track, 100), track, max_shift_ms=4).frames == 100


def test_the_gate_is_the_callers():
    times = random_times(1)
    pair = clicks(times + 50) + noise(1, -40), clicks(times) + noise(2, -40)
    sure = lag(*pair)
    assert lag(*pair, gate=sure.confidence + 1) == Lag(0, sure.confidence)


def test_the_result_does_not_depend_on_the_blocks():
    times = random_times(1)
    pair = clicks(times + 50) + noise(1, -40), clicks(times) + noise(2, -40)
    assert lag(*pair, size=1024) == lag(*pair, size=65_536) == lag(*pair, size=FRAMES)


def test_a_track_shorter_than_a_block():
    track = noise(9, -20, RATE)
    found = lag(later(track, 100), track)
    assert found.confidence < GATE, "too little to be sure of"
    assert lag(later(track, 100), track, max_shift_ms=50, gate=5).frames == 100
    assert lag(track[:10], track[:10]).frames == 0


def test_the_shorter_stream_ends_it():
    read = 0

    def endless():
        nonlocal read
        random = np.random.default_rng(9)
        while True:
            read += 1
            yield random.standard_normal((65_536, 2)).astype(np.float32) / 10

    found = estimate(lambda: islice(endless(), 15), endless, RATE, 1000, GATE)
    assert found.frames == 0
    assert found.confidence >= GATE
    assert read < 40
