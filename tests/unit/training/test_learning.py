"""What is drawn, what is learnt, and that a run which was killed ends as one that was not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stemd.core.errors import StemdError
from stemd.training import drawing, network, shelf, standins
from stemd.training.augmenting import Batches
from stemd.training.averaging import average
from stemd.training.drawing import Corpus, generator, mixture
from stemd.training.learning import CHECKPOINT, Course, Place, Run, computes_bfloat16, learning_rate, train
from stemd.training.losses import Weights, loss
from stemd.training.progress import Progress
from stemd.training.terms import RATE, Sound
from tests.unit.training.conftest import tones

FRAMES = RATE // 2
COURSE = Course(steps=5, seed=3, batch=1, segment=0.5, network={"depth": 3}, warmup=2)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(small_shelf: Path) -> Corpus:
    return Corpus.of(shelf.take([small_shelf]))


def _batches(corpus: Corpus, seed: int = 3, count: int = 1, frames: int = FRAMES) -> Batches:
    return Batches(corpus, seed, count, frames)


def test_a_fresh_network_masks_a_quarter_of_the_mixture_for_each_stem():
    model = network.build().eval()
    mix = torch.randn(1, 2, RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.inference_mode():
        answer = model(mix)
    assert answer.shape == (1, 4, 2, RATE)

    def spectrum(sound: torch.Tensor) -> torch.Tensor:
        return torch.stft(sound, 4096, 1024, window=torch.hann_window(4096), return_complex=True)[:, 100:-100, 5:-5]

    for stem in range(4):
        mask = spectrum(answer[0, stem]) / spectrum(mix[0])
        assert abs(float(mask.real.median()) - 0.25) < 0.02
        assert float(mask.imag.abs().median()) < 0.05, "real masks: the phase is the mixture's"
    assert network.size(model) * 2 < 7_500_000, "in half precision it has to stay below 8 MB"


def test_too_few_channels_for_masks_are_refused():
    with pytest.raises(ValueError, match="64 are needed"):
        network.build(channels=32)


def test_a_batch_depends_on_its_seed_and_number_alone(corpus: Corpus):
    first, second = _batches(corpus, count=2), _batches(corpus, count=2)
    later = [first.get(number) for number in (0, 1, 2)]
    assert torch.equal(second.get(2), later[2]), "nothing that was drawn before matters"
    assert not torch.equal(later[1], later[2])
    assert not torch.equal(_batches(corpus, seed=4, count=2).get(2), later[2])
    assert later[0].shape == (2, 4, 2, FRAMES) and all(torch.isfinite(batch).all() for batch in later)


def test_mixtures_have_absent_stems_and_sounding_ones(corpus: Corpus):
    drawn = [mixture(generator(1, number), corpus, FRAMES) for number in range(60)]
    silent = np.array([[not stem.any() for stem in stems] for stems in drawn])
    assert 0 < silent[:, 0].sum() < 20 and silent[:, 3].sum() > silent[:, 0].sum() - 3
    assert (~silent).any(1).all()


def test_most_mixtures_are_cut_where_the_stems_sound(tmp_path: Path):
    song = tones(1, 8.0)
    song[..., 2 * RATE :] = 0
    shelf.put(tmp_path, "song", song, {})
    corpus = Corpus.of(shelf.take([tmp_path]))
    drawn = [mixture(generator(3, number), corpus, RATE // 4)[0] for number in range(80)]
    assert 35 < sum(bool(stem.any()) for stem in drawn) < 75, "a quarter of the places have sound"
    only = corpus.songs[0]
    assert only.sounds(0, 0, RATE) and not only.sounds(0, 3 * RATE, 4 * RATE)


def test_half_of_the_songs_keep_their_own_balance(tmp_path: Path):
    song = tones(1, 2.0)
    song[2] *= 0.1
    shelf.put(tmp_path, "song", song, {})
    corpus = Corpus.of(shelf.take([tmp_path]))
    drawn = [mixture(generator(4, number), corpus, RATE)[2] for number in range(80)]
    faint = [float(np.abs(stem).max()) < 0.05 for stem in drawn if stem.any()]
    assert 0.1 < np.mean(faint) < 0.4, "a half of the half that are one song"


def test_a_bass_is_now_and_then_played_lower_or_higher(corpus: Corpus):
    """The corpus' basses are sines of 50 to 110 Hz: 42 to 130 Hz by the speeds that all stems are played at."""
    frequency = np.fft.rfftfreq(4 * FRAMES, 1 / RATE)
    drawn = [mixture(generator(2, number), corpus, FRAMES)[1, 0] for number in range(240)]
    lowest = [frequency[np.abs(np.fft.rfft(each, 4 * FRAMES)).argmax()] for each in drawn if each.any()]
    assert 2 < sum(each < 40 for each in lowest) < 60 and 2 < sum(each > 130 for each in lowest) < 60


def test_a_stem_that_is_played_faster_lasts_as_long(corpus: Corpus, monkeypatch):
    monkeypatch.setattr(standins, "STANDINS", {})
    monkeypatch.setattr(drawing, "_BENT", (1.0,) * 4)
    assert corpus.songs[0].frames > 2.7 * RATE, "what the fastest needs for a second"
    drawn = [mixture(generator(5, number), corpus, RATE) for number in range(60)]
    assert all(stem[:, -RATE // 50 :].any() for stems in drawn for stem in stems[1:] if stem.any())


def test_few_basses_are_sub_basses_and_most_are_as_lean_as_recorded_ones(corpus: Corpus):
    batches = _batches(corpus)
    low, high = (int((batches._frequency - hertz).abs().argmin()) for hertz in (40, 2000))
    curves = [batches._bass(np.random.default_rng(seed)).expand(batches._frequency.shape) for seed in range(100)]
    subs = [curve for curve in curves if curve[high] < 0.05]
    lean = [curve for curve in curves if curve[low] < 0.5]
    assert 2 <= len(subs) < 20 and all(curve[low] > 0.5 for curve in subs)
    assert 45 < len(lean) < 85 and all(curve[high] > 0.9 for curve in lean)
    assert any(bool((curve == 1).all()) for curve in curves)


_STANDINS = {each.play.__name__.strip("_"): each.play for every in standins.STANDINS.values() for each in every}


@pytest.mark.parametrize("name", sorted(_STANDINS))
def test_what_takes_the_place_of_a_stem(name: str):
    """Whole, at once within a note or soon after, the same for the same seed; a boom is nearly all below 200 Hz."""
    play, low = _STANDINS[name], 0.9 if name == "boom" else 0.0
    for seed in range(6):
        sound = play(np.random.default_rng(seed), 3 * RATE)
        assert sound.shape == (2, 3 * RATE) and sound.dtype == np.float32 and np.isfinite(sound).all()
        assert np.array_equal(sound, play(np.random.default_rng(seed), 3 * RATE))
        assert np.abs(sound[:, : 2 * RATE]).max() > 0.05
        power = np.square(np.abs(np.fft.rfft(sound[0])))
        assert power[: 200 * 3].sum() >= low * power.sum()


def test_a_bass_guitar_has_more_than_its_fundamental_and_a_riser_moves():
    def power(sound: Sound) -> np.ndarray:
        return np.square(np.abs(np.fft.rfft(sound[0])))

    basses = [power(_STANDINS["bass_guitar"](np.random.default_rng(seed), 3 * RATE)) for seed in range(20)]
    high = [each[200 * 3 :].sum() / each.sum() for each in basses]
    assert 0.2 < np.median(high) < 0.8
    for seed in range(6):
        riser = _STANDINS["riser"](np.random.default_rng(seed), 3 * RATE)
        ends = [power(riser[:, :RATE]), power(riser[:, -RATE:])]
        centres = sorted((each * np.arange(len(each))).sum() / each.sum() for each in ends)
        assert centres[1] > 1.3 * centres[0], "Hz, in its first and last second"


def test_who_stands_in_comes_as_often_as_told():
    drawn = [standins.draw(np.random.default_rng(seed), "other") for seed in range(600)]
    for standin in standins.STANDINS["other"]:
        assert 0.5 * standin.odds < drawn.count(standin) / 600 < 1.6 * standin.odds
    assert standins.draw(np.random.default_rng(1), "drums") is None


def test_others_sway_to_their_end(corpus: Corpus, monkeypatch):
    """The corpus' others are three steady sines: swaying spreads them."""
    monkeypatch.setattr(standins, "STANDINS", {})
    narrow = {}
    for odds in (0.0, 1.0):
        monkeypatch.setattr(drawing, "_SWAYING", odds)
        drawn = [mixture(generator(6, number), corpus, RATE)[2] for number in range(30)]
        sounding = [each for each in drawn if each.any()]
        assert all(each[:, -RATE // 50 :].any() for each in sounding)
        power = [np.square(np.abs(np.fft.rfft(each[0]))) for each in sounding]
        narrow[odds] = np.mean([np.sort(each)[-9:].sum() / each.sum() for each in power])
    assert narrow[0.0] > 0.9 and narrow[1.0] < 0.8


def test_a_song_shorter_than_a_segment_is_followed_by_silence(corpus: Corpus):
    stems = mixture(generator(1, 5), corpus, 10 * RATE)
    assert stems.shape[-1] == 10 * RATE and not stems[..., -RATE:].any()


def test_real_pieces_are_drawn_as_often_as_asked(tmp_path: Path):
    for number in range(3):
        shelf.put(tmp_path, f"a{number}", tones(number, 1.0), {})
    shelf.put(tmp_path, "real", tones(9, 1.0), {"real": "nine"})
    often = Corpus.of(shelf.take([tmp_path]), real=9.0)
    random = np.random.default_rng(1)
    assert 60 < sum("real" in often.draw(random).facts for _ in range(100)) < 90


def test_the_loss_is_least_at_the_truth_and_counts_what_should_be_silent(corpus: Corpus):
    truth = torch.from_numpy(np.stack([tones(2, 0.5, absent=(3,))]))
    quarter = truth.sum(1, keepdim=True).expand(-1, 4, -1, -1) / 4
    wrong = quarter.clone()
    wrong[:, 3] = 0
    (right, near, far), names = zip(*(loss(guess, truth) for guess in (truth, wrong, quarter)), strict=True)
    assert right < near < far
    assert names[0]["absent"] < 0.1 and names[1]["absent"] < 0.1 < names[2]["absent"]
    assert names[2]["wave"] > 0.1 and abs(names[0]["wave"]) < 1e-6
    silence = torch.zeros_like(truth)
    assert torch.isfinite(loss(silence, silence)[0])
    estimate = quarter.clone().requires_grad_()
    loss(estimate, truth)[0].backward()
    assert torch.isfinite(estimate.grad).all() and estimate.grad[:, 3].abs().max() > 0


def test_stems_that_do_not_add_up_cost_as_much_as_asked():
    truth = torch.from_numpy(np.stack([tones(2, 0.5)]))
    shared = truth + (truth[:, :1] - truth[:, 1:2]) * torch.tensor([1.0, -1.0, 0.0, 0.0])[:, None, None]
    assert loss(shared, truth)[1]["rest"] < 1e-6 < loss(shared, truth)[1]["wave"]
    (plain, terms), (dear, _) = (loss(truth * 0.8, truth, Weights(rest=rest)) for rest in (0.0, 2.0))
    assert terms["rest"] == pytest.approx(0.2, rel=1e-4) and float(dear - plain) == pytest.approx(0.4, rel=1e-4)


def test_bfloat16_is_for_processors_that_compute_in_it():
    assert computes_bfloat16("flags\t\t: fpu avx512f avx512_bf16 sha_ni\n")
    assert computes_bfloat16("flags : amx_bf16 amx_tile") and computes_bfloat16("Features\t: asimd bf16 i8mm")
    assert not computes_bfloat16("flags : fpu avx avx2 fma sha_ni\nmodel name : EPYC")


def test_the_learning_rate_rises_and_falls():
    course = Course(steps=100, warmup=10, rate=1.0)
    rates = [learning_rate(course, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and np.argmax(rates) in (9, 10)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.02
    assert learning_rate(replace(course, floor=0.3), 100) == pytest.approx(0.3), "where others follow"


def test_the_windows_of_the_spectrum_take_turns(corpus: Corpus):
    truth = _batches(corpus).get(0)
    estimate = truth.sum(1, keepdim=True).expand(-1, 4, -1, -1) / 4
    all_three = loss(estimate, truth)[1]["spectrum"]
    turns = [loss(estimate, truth, step=step)[1]["spectrum"] for step in range(4)]
    assert turns[3] == turns[0] and len({*turns}) == 3
    assert sum(turns[:3]) / 3 == pytest.approx(all_three, rel=1e-5)


class _Killed(Batches):
    def get(self, number: int) -> torch.Tensor:
        if number >= 3:
            raise ZeroDivisionError("killed")
        return super().get(number)


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path, corpus: Corpus):
    """The third step is done and saved, then the process is gone; the rest gives the same bits."""
    for name in ("smooth", "broken"):
        (tmp_path / name).mkdir()
    smooth = Run.open(tmp_path / "smooth", COURSE)
    smooth.train(_batches(corpus), Progress("train", 0, "steps"), 10.0)
    broken = Run.open(tmp_path / "broken", COURSE)
    with pytest.raises(ZeroDivisionError):
        broken.train(_Killed(corpus, 3, 1, FRAMES), Progress("train", 0, "steps"), 10.0, save_every=0.0)
    again = Run.open(tmp_path / "broken", COURSE)
    assert again.step == 3
    again.train(_batches(corpus), Progress("train", 0, "steps"), 10.0)
    assert again.step == smooth.step == 5
    for kind in ("model", "averaged"):
        one, other = getattr(smooth, kind).state_dict(), getattr(again, kind).state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one), kind
    fresh = network.build(depth=3).state_dict()
    assert any(not torch.equal(fresh[name], value) for name, value in smooth.model.state_dict().items())


def test_another_course_does_not_go_on_in_the_same_folder(tmp_path: Path, small_shelf: Path):
    place = Place(tmp_path / "run", (small_shelf,), minutes=0.0)
    run = train(place, COURSE, Progress("train", 0, "steps"))
    assert run.step == 0 and (place.folder / CHECKPOINT).is_file(), "stopped at once, and ready to go on"
    assert json.loads((place.folder / "run.json").read_text())["material"]["songs"] == 6
    with pytest.raises(StemdError, match="another seed"):
        train(place, replace(COURSE, seed=4), Progress("train", 0, "steps"))


def test_the_average_lies_between_and_counts_what_is_shared_once(tmp_path: Path, corpus: Corpus):
    start = tmp_path / "start"
    start.mkdir()
    Run.open(start, COURSE).train(_batches(corpus), Progress("train", 0, "steps"), 10.0)
    runs = []
    for seed in (7, 8):
        folder = tmp_path / str(seed)
        folder.mkdir()
        run = Run.open(folder, replace(COURSE, seed=seed, steps=2), start=start / CHECKPOINT)
        run.train(_batches(corpus, seed), Progress("train", 0, "steps"), 10.0)
        runs.append(run)
    target = tmp_path / "mean.pt"
    average([run.folder / CHECKPOINT for run in runs], target)
    mean = torch.load(target, weights_only=True)
    assert mean["segments"] == 5 + 2 + 2
    for name, value in mean["averaged"].items():
        pair = [run.averaged.state_dict()[name] for run in runs]
        assert torch.allclose(value, (pair[0] + pair[1]) / 2)
    again = tmp_path / "again"
    again.mkdir()
    Run.open(again, replace(COURSE, steps=1), start=target).train(_batches(corpus), Progress("train", 0, "steps"), 10.0)
    average([again / CHECKPOINT, target], tmp_path / "half.pt")
    assert torch.load(tmp_path / "half.pt", weights_only=True)["segments"] == 9 + 1, "half the way back to the start"
    longer = []
    for run in runs:
        folder = tmp_path / f"{run.folder.name} again"
        folder.mkdir()
        longer.append(Run.open(folder, replace(COURSE, steps=3), start=run.folder / CHECKPOINT))
        longer[-1].train(_batches(corpus), Progress("train", 0, "steps"), 10.0)
    average([run.folder / CHECKPOINT for run in longer], tmp_path / "longer.pt")
    facts = torch.load(tmp_path / "longer.pt", weights_only=True)
    assert facts["segments"] == 5 + 2 + 2 + 3 + 3, "what each of them had learnt before counts too"
    assert facts["cpu_seconds"] == pytest.approx(sum(seconds for _, seconds in facts["runs"].values()))
    started_early = tmp_path / "early"
    started_early.mkdir()
    early = replace(COURSE, steps=1, seed=9)
    place = tmp_path / "went on"
    place.mkdir()
    long = Run.open(place, COURSE)
    long.train(_batches(corpus), Progress("train", 0, "steps"), 0.0)
    Run.open(started_early, early, start=place / CHECKPOINT).train(_batches(corpus), Progress("train", 0, "steps"), 1.0)
    long.train(_batches(corpus), Progress("train", 0, "steps"), 10.0)
    for order in ((place, started_early), (started_early, place)):
        average([folder / CHECKPOINT for folder in order], tmp_path / "early.pt")
        assert torch.load(tmp_path / "early.pt", weights_only=True)["segments"] == 5 + 1, "whichever comes first"
    other = tmp_path / "other"
    other.mkdir()
    Run.open(other, replace(COURSE, network={"depth": 4})).save()
    with pytest.raises(StemdError, match="different networks"):
        average([target, other / CHECKPOINT], tmp_path / "none.pt")
