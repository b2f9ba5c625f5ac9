"""Outlines and curves against numpy, ``peaks.json``, and a picture in which nothing is in the way of anything."""

import io
import json
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stemd.engines.audio.peaks import FULL_SCALE
from stemd.engines.mix import rendering
from stemd.engines.mix.lettering import fitted, font
from stemd.engines.mix.pictures import document, draw, published
from stemd.engines.mix.shelf import Shelf
from stemd.engines.mix.tap import StreamTap
from stemd.engines.mix.waveform import Curve
from tests.unit.engines.mix.signals import blocks, song, tone

RATE = 44_100


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.05, 0.3, (frames, 2)).astype(np.float32)


def fed(taker, frames: np.ndarray, size: int):
    for block in blocks(frames, size):
        taker.add(block)
    return taker


@pytest.mark.parametrize("frames", [1, 4410, 8821, 100_000, 3_000_000])
def test_a_curve_is_the_mean_power_of_its_parts(frames):
    track = noise(frames)
    once, more = (fed(Curve(RATE, frames), track, size).to_list() for size in (1024, 65_536))
    count = max(1, min(600, frames // 4410))
    edges = [number * frames // count for number in range(count + 1)]
    powers = [np.square(track[a:b], dtype=np.float64).mean() for a, b in pairwise(edges)]
    assert once == pytest.approx(10 * np.log10(powers), abs=0.006)
    assert more == pytest.approx(once, abs=0.011)


def test_levels_of_a_sine_and_of_silence():
    assert fed(Curve(RATE, RATE), tone(-6, 1, RATE), 4096).to_list() == pytest.approx([-9.01] * 10, abs=0.01)
    silence = np.zeros((1000, 2), np.float32)
    assert fed(Curve(RATE, 1000), silence, 64).to_list() == [-120.0]


def shown(folder: Path, tracks: dict[str, np.ndarray], rate: int = RATE) -> dict:
    """The document of a mix of ``tracks``, by way of a real shelf."""
    shelf = Shelf(folder, {})
    shelf.open()
    blend = np.sum(list(tracks.values()), axis=0, dtype=np.float32)
    streams = {rendering.processed(role): frames for role, frames in tracks.items()}
    for name, frames in {**streams, rendering.BLEND: blend, rendering.MASTER: np.tanh(blend)}.items():
        tap = fed(StreamTap(rate, len(frames)), frames, 65_536)
        shelf.put(name, blocks(frames), lambda name=name, tap=tap: {name: tap.facts()})
    return document(shelf, dict.fromkeys(tracks, 0.0), rate)


def test_the_document(tmp_path):
    tracks = {"vocals": tone(-6, 2.0, RATE), "drums": song(2.0, RATE), "pad": np.zeros((2 * RATE, 2), np.float32)}
    found = json.loads(json.dumps(shown(tmp_path, tracks), allow_nan=False))
    assert list(found["tracks"]) == list(tracks)
    assert (found["seconds"], found["sample_rate"], found["full_scale"]) == (2.0, RATE, FULL_SCALE)
    vocals = found["tracks"]["vocals"]
    assert len(vocals["pairs"]) == 1960 and len(vocals["energy"]) == 20
    assert vocals["levels"]["peak_dbfs"] == pytest.approx(-6, abs=0.01)
    assert vocals["levels"]["rms_dbfs"] == pytest.approx(-9.01, abs=0.01)
    spectrum = vocals["spectrum"]
    assert spectrum["hz"][int(np.argmax(spectrum["db"]))] == 1000
    assert max(high for _, high in found["pre_master"]["pairs"]) > FULL_SCALE  # beyond full scale, and says so
    assert max(high for _, high in found["master"]["pairs"]) <= FULL_SCALE
    assert found["tracks"]["pad"]["spectrum"] is None and found["tracks"]["pad"]["levels"]["rms_dbfs"] is None


def test_what_is_published_is_one_outline_per_stream(tmp_path):
    tracks = {"vocals": tone(-6, 2.0, RATE), "drums": song(2.0, RATE)}
    found = shown(tmp_path, tracks)
    file = json.loads(json.dumps(published(found), allow_nan=False))
    assert (file["version"], file["channels"], file["bits"], file["samples_per_pixel"]) == (2, 4, 16, 45)
    assert file["stems"] == ["vocals", "drums", "pre_master", "master"]
    assert file["data"][:2] == found["tracks"]["vocals"]["pairs"][0]
    assert max(file["data"]) == FULL_SCALE < max(high for _, high in found["pre_master"]["pairs"])
    assert file["master"] == {key: found["master"][key] for key in ("levels", "spectrum", "energy")}


NAMES = ["vocals", "ボーカル", "Заглавный вокал — дубль", "x" * 60, "éàç ñ", "漢字 mix", "a\nb\x07", ""]
CASES = {
    "one": (["vocals"], 2.0, 1.0),
    "two": (["vocals", "other"], 2.0, 1.0),
    "eight": (NAMES, 2.0, 0.3),
    "twenty": ([f"{name} {number}" for number, name in enumerate(NAMES * 3)][:20], 1.0, 0.1),
    "forty": ([f"track_{number}" for number in range(40)], 0.5, 0.05),
    "short": (["vocals", "other"], 0.1, 1.0),
    "one frame": (["vocals"], 1 / RATE, 1.0),
    "silent": (["vocals", "other"], 1.0, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_no_text_is_in_the_way(tmp_path, case, monkeypatch):
    names, length, gain = CASES[case]
    tracks = {name: song(length, RATE) * np.float32(gain / (1 + number)) for number, name in enumerate(names)}
    found = shown(tmp_path, tracks)
    for each in (found["pre_master"], found["master"]):
        each["levels"]["range_lu"] = 12.3 if gain else None
    boxes = []
    write = ImageDraw.ImageDraw.text

    def writing(self, xy, text, fill, font, anchor):
        left, _, right, _ = ImageDraw.ImageDraw.textbbox(self, xy, text, font, anchor)
        _, top, _, bottom = ImageDraw.ImageDraw.textbbox(self, xy, "Ág", font, anchor)
        boxes.append((text, (left, top, right, bottom)))
        assert anchor != "lm" or top < 76 or right < 216, text  # not over the sound
        write(self, xy, text, fill, font, anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", writing)
    image = Image.open(io.BytesIO(draw(found, "標題 " + "a long title " * 20)))
    assert image.width == 1600 and (image.height == 900 or len(names) > 20)
    for text, box in boxes:
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= image.width and box[3] <= image.height, text
    for (text, one), (other, two) in combinations(boxes, 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, (text, other)
    assert len(boxes) > 15 + len(names)


def test_an_hour_has_ticks_of_minutes(tmp_path):
    found = shown(tmp_path, {"speech": song(1.0, 8000)}, 8000)
    hours = {**found, "frames": 3600 * 8000}
    assert draw(hours) != draw(found)
    draw({**found, "frames": 100 * 3600 * 8000})


def test_the_picture_is_the_same_each_time_and_shows_the_sound(tmp_path):
    found = shown(tmp_path, {"vocals": song(1.0, RATE), "other": np.zeros((RATE, 2), np.float32)})
    assert draw(found, "a") == draw(found, "a") != draw(found, "b")
    pixels = np.asarray(Image.open(io.BytesIO(draw(found))).convert("RGB"), np.int16)
    column = pixels[:, 220]  # the first kick: the master stands high there
    blue = np.flatnonzero((column[:, 2] - column[:, 0]) > 40)
    assert blue.max() - blue.min() > 300


def test_text_is_cut_to_its_place_in_a_font_that_has_it():
    text, face = fitted("x" * 60, 14, 150, "track 1")
    assert text.endswith("…") and face.getlength(text) <= 150
    assert fitted("vocals", 14, 150, "track 1") == ("vocals", font(14))
    assert fitted("", 14, 150, "track 1")[0] == "track 1"
    assert fitted("\udc80\x00", 14, 150, "track 1")[0] == "track 1"
    assert fitted("a\nb", 14, 150, "track 1")[0] == "a b"


def test_letters_no_font_has_are_left_out(monkeypatch):
    monkeypatch.setattr("stemd.engines.mix.lettering._fonts", lambda size: [font(size)])
    assert fitted("Café", 14, 150, "track 1")[0] == "Cafe"
    assert fitted("漢字", 14, 150, "track 1")[0] == "track 1"
    assert fitted("漢字 mix", 14, 150, "track 1")[0] == "mix"
