"""What covers the protected tracks gives way, there and then, and nothing else changes."""

import numpy as np
import pytest

from stemd.engines.mix.masking import Resolve, run
from stemd.engines.mix.parameters import Masking

RATE = 44_100
FRAMES = 4 * RATE + 123


def noise(seed: int, db: float, frames: int = FRAMES):
    return (np.random.default_rng(seed).standard_normal((frames, 2)) * 10 ** (db / 20)).astype(np.float32)


def sine(hz: float, db: float, frames: int = FRAMES, rate: int = RATE):
    wave = np.sin(2 * np.pi * hz * np.arange(frames) / rate) * 10 ** (db / 20)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def phrases():
    """A voice that is there every other half second."""
    return noise(1, -30) * (np.arange(FRAMES) // (RATE // 2) % 2)[:, None].astype(np.float32)


def masking(max_db: float, **more) -> Masking:
    return Masking(**({"protect": ("vocals",), "duck": ("other", "drums"), "max_db": max_db} | more))


def resolved(tracks, asked: Masking, size: int = 65_536, rate: int = RATE):
    """The tracks afterwards and the facts."""
    resolve = Resolve(asked, tuple(tracks), rate)
    frames = max(map(len, tracks.values()))
    blocks = ({role: track[at : at + size] for role, track in tracks.items()} for at in range(0, frames, size))
    out = list(run(resolve, blocks))
    return {role: np.concatenate([block[role] for block in out]) for role in tracks}, resolve.facts()


def rms_db(track) -> float:
    return 10 * float(np.log10(np.mean(np.square(track, dtype=np.float64)) + 1e-20))


def test_the_excess_falls_with_max_db():
    tracks = {"vocals": phrases(), "other": noise(2, -26), "drums": noise(3, -30), "bass": noise(4, -30)}
    told, heard = [], []
    for max_db in (0, 2, 4, 6, 9):
        out, facts = resolved(tracks, masking(max_db))
        told.append(facts.excess_after_db)
        heard.append(resolved(out, masking(0))[1].excess_before_db)
        assert facts.excess_before_db == pytest.approx(told[0])
        assert np.array_equal(out["vocals"], tracks["vocals"])
        assert np.array_equal(out["bass"], tracks["bass"])
        assert all(each.max_db <= max_db + 1e-6 for each in facts.reductions.values())
    assert all(np.diff(told) < -0.1)
    assert all(np.diff(heard) < -0.1)
    assert np.abs(np.subtract(told, heard)).max() < 0.5, "what is told is what is heard"


def test_nothing_changes_at_zero():
    tracks = {"vocals": phrases(), "other": noise(2, -20)}
    out, facts = resolved(tracks, masking(0))
    assert all(np.array_equal(out[role], tracks[role]) for role in tracks)
    assert facts.excess_before_db == facts.excess_after_db > 5
    assert facts.reductions["other"].max_db == 0


def test_a_covered_tone_is_lowered_by_as_much_as_asked():
    tracks = {"vocals": sine(1000, -30), "other": sine(1000, -20) + sine(9000, -20)}
    out, facts = resolved(tracks, masking(4))
    middle = slice(RATE, 3 * RATE)
    low = out["other"][middle] - sine(9000, -20)[middle]
    assert rms_db(low) == pytest.approx(rms_db(sine(1000, -20)) - 4, abs=0.1)
    assert facts.reductions["other"].max_db == pytest.approx(4, abs=0.01)
    first = slice(512)
    assert rms_db(out["other"][first]) < rms_db(tracks["other"][first]) - 1, "from its first sample on"


def test_the_lowest_bands_have_bins():
    tracks = {"vocals": sine(65, -30), "other": sine(65, -20)}
    out, _ = resolved(tracks, masking(4, low_hz=20))
    middle = slice(RATE, 3 * RATE)
    assert rms_db(out["other"][middle]) == pytest.approx(rms_db(tracks["other"][middle]) - 4, abs=0.3)


def test_what_the_voice_leaves_behind_is_not_protected():
    """Room noise and reverberation, 45 dB below the voice itself, are no reason to lower the rest."""
    vocals = sine(1000, -10)
    vocals[RATE:] *= 10 ** (-45 / 20)
    tracks = {"vocals": vocals, "other": sine(1000, -5)}
    out, _ = resolved(tracks, masking(6))
    assert rms_db(out["other"][RATE // 2 : RATE]) < rms_db(tracks["other"][RATE // 2 : RATE]) - 5
    assert np.array_equal(out["other"][3 * RATE : -RATE // 2], tracks["other"][3 * RATE : -RATE // 2])


@pytest.mark.parametrize("hz", [60, 9000])
def test_outside_the_range_nothing_is_lowered(hz):
    tracks = {"vocals": sine(hz, -30), "other": sine(hz, -20)}
    out, _ = resolved(tracks, masking(9))
    middle = slice(RATE // 2, -RATE // 2)  # the edges of a tone are clicks, which are in the range
    assert np.array_equal(out["other"][middle], tracks["other"][middle])


@pytest.mark.parametrize(
    ("vocals", "other"),
    [
        (noise(1, -20), noise(2, -40)),
        (noise(1, -90), noise(2, -20)),
        (np.zeros((FRAMES, 2), np.float32), noise(2, -20)),
        (noise(1, -20), np.zeros((FRAMES, 2), np.float32)),
        (np.zeros((FRAMES, 2), np.float32), np.zeros((FRAMES, 2), np.float32)),
    ],
    ids=["not covered", "as good as silent", "silent", "nothing to lower", "all silent"],
)
def test_what_need_not_be_lowered_is_bit_for_bit(vocals, other):
    tracks = {"vocals": vocals, "other": other}
    out, facts = resolved(tracks, masking(9))
    assert all(np.array_equal(out[role], tracks[role]) for role in tracks)
    assert facts.excess_after_db == pytest.approx(facts.excess_before_db)


def test_the_gain_recovers_when_the_voice_ends():
    vocals = noise(1, -30)
    vocals[RATE:] = 0
    tracks = {"vocals": vocals, "other": noise(2, -20)}
    out, _ = resolved(tracks, masking(6))
    soon, later = slice(RATE + 4096, RATE + 6144), slice(int(2.5 * RATE), FRAMES)
    kept = rms_db(tracks["other"][soon] - out["other"][soon]) - rms_db(
        tracks["other"][RATE // 2 : RATE] - out["other"][RATE // 2 : RATE]
    )
    assert -9 < kept < -3, "about half of it is still there after a tenth of a second"
    assert np.array_equal(out["other"][later], tracks["other"][later])


def test_a_track_that_hides_nothing_is_left_alone():
    tracks = {"vocals": noise(1, -40), "other": noise(2, -20), "drums": noise(3, -44)}
    _, facts = resolved(tracks, masking(6))
    assert facts.reductions["other"].mean_db > 5
    assert facts.reductions["drums"].mean_db < 0.2


@pytest.mark.parametrize("max_db", [0, 6])
def test_the_result_does_not_depend_on_the_blocks(max_db):
    vocals = phrases()
    vocals[RATE : 3 * RATE] = 0
    tracks = {"vocals": vocals, "other": noise(2, -26), "drums": noise(3, -30)}
    whole, facts = resolved(tracks, masking(max_db), size=1 << 20)
    for size in (64, 1024, 65_536) if max_db else (1024,):
        out, again = resolved(tracks, masking(max_db), size)
        assert max(np.abs(out[role] - whole[role]).max() for role in tracks) <= 1e-6
        assert again.excess_after_db == pytest.approx(facts.excess_after_db)


@pytest.mark.parametrize("frames", [0, 1, 63, 500, 2048, 2049])
def test_short_tracks_keep_their_length(frames):
    tracks = {"vocals": noise(1, -30, frames), "other": noise(2, -20, frames)}
    if not frames:
        assert list(run(Resolve(masking(6), tuple(tracks), RATE), [tracks])) == []
        assert list(run(Resolve(masking(6), tuple(tracks), RATE), [])) == []
        return
    out, _ = resolved(tracks, masking(6), size=64)
    assert all(len(track) == frames for track in out.values())


@pytest.mark.parametrize("rate", [8000, 22_050, 96_000, 192_000])
def test_other_rates(rate):
    tracks = {"vocals": sine(1000, -30, rate, rate), "other": sine(1000, -20, rate, rate)}
    out, _ = resolved(tracks, masking(6), rate=rate)
    middle = slice(rate // 3, rate // 2)
    assert rms_db(out["other"][middle]) == pytest.approx(rms_db(tracks["other"][middle]) - 6, abs=0.1)


@pytest.mark.parametrize(
    "asked",
    [
        masking(6, protect=("choir",)),
        masking(6, duck=("choir",)),
        masking(6, duck=("vocals",)),
        masking(6, low_hz=30_000, high_hz=40_000),
        Masking(),
    ],
    ids=["nothing to protect", "nothing to duck", "itself", "no band", "not asked for"],
)
def test_without_a_pair_tracks_pass_through(asked):
    tracks = {"vocals": noise(1, -30, 5000), "other": noise(2, -20, 5000)}
    out, facts = resolved(tracks, asked)
    assert Resolve(asked, tuple(tracks), RATE).latency == 0
    assert all(np.array_equal(out[role], tracks[role]) for role in tracks)
    assert facts.excess_before_db == facts.excess_after_db == 0
    assert not any(reduction.max_db for reduction in facts.reductions.values())


def test_a_role_that_is_not_there_is_left_out():
    tracks = {"vocals": noise(1, -30), "other": noise(2, -20)}
    _, facts = resolved(tracks, masking(6, protect=("choir", "vocals"), duck=("drums", "other")))
    assert list(facts.reductions) == ["other"]
