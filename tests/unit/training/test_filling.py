"""Shelves: whole songs only, real multitracks, and a killed rendering that goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.core.errors import StemdError
from stemd.training import recordings, shelf
from stemd.training.commands import main
from stemd.training.filling import Order, fill, read_plans
from stemd.training.keeping import whole
from stemd.training.progress import Progress
from stemd.training.terms import RATE
from tests.support.daemon import eventually
from tests.unit.training.conftest import HELD_OUT_FONT, needs_sound, tones


def test_a_song_comes_back_as_it_was_put(tmp_path: Path):
    stems = tones(1, absent=(3,))
    shelf.put(tmp_path, "a", stems, {"seed": [1, 2]})
    (song,) = shelf.take([tmp_path])
    back = song.all()
    gain = np.abs(back).max() / np.abs(stems).max()
    assert np.abs(back / gain - stems).max() < 1e-4, "one gain for all stems"
    assert song.levels[3] == 0 and all(level > 0.01 for level in song.levels[:3])
    assert np.array_equal(song.cut(1, 100, 200), back[1][:, 100:200])
    assert song.facts["seed"] == [1, 2]


def test_a_song_without_its_record_is_not_there(tmp_path: Path):
    shelf.put(tmp_path, "a", tones(1), {})
    shelf.put(tmp_path, "b", tones(2), {})
    (tmp_path / "a.json").unlink()
    assert [song.name for song in shelf.take([tmp_path])] == ["b"]
    with pytest.raises(StemdError, match="no song"):
        shelf.take([tmp_path / "elsewhere"])


def test_what_fails_half_way_leaves_nothing_and_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def spoil() -> None:
        with whole(path) as file:
            file.write(b"new, but")
            raise OSError

    with pytest.raises(OSError):
        spoil()
    assert [each.name for each in tmp_path.iterdir()] == ["file"] and path.read_bytes() == b"old"


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="not installed: ffmpeg")
def test_recordings_become_songs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    real, out = tmp_path / "real", tmp_path / "shelf"
    (real / "one").mkdir(parents=True)
    stems = tones(3, 4.0)
    for name, sound in {"kick": stems[0], "sub": stems[1], "lead": stems[3], "backing": stems[3] * 0.5}.items():
        soundfile.write(real / "one" / f"{name}.wav", sound.T, RATE, subtype="FLOAT")
    roles = {"one": {"kick": "drums", "sub": "bass", "lead": "vocals", "backing": "vocals"}}
    (real / "roles.json").write_text(json.dumps(roles))
    assert main(["render", str(out), "--real", str(real), "--piece", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["done"] == 1
    songs = shelf.take([out])
    assert [song.name for song in songs] == ["real-one-000", "real-one-001"]
    whole_song = np.concatenate([song.all() for song in songs], axis=-1)
    assert not whole_song[2].any()
    ratio = whole_song[3] / np.where(np.abs(stems[3]) > 0.01, stems[3], np.nan)
    assert np.nanstd(ratio[:, : 2 * RATE]) < 0.02, "backing and lead are one stem"
    others = ["render", str(out), "--real", str(real), "--piece", "2", "--takes", "4", "--json"]
    first = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "real-one-take2-000.json").write_text("{}")  # a take that was killed half way
    assert main(others) == 0 and json.loads(capsys.readouterr().out.splitlines()[-1])["done"] == 4
    added = {song.name: song for song in shelf.take([out])}
    assert {"real-one-000", "real-one-take1-000", "real-one-take3-001"} <= set(added)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in first.items()), "the record as it is stays"
    assert added["real-one-take2-000"].facts["gains"] == list(recordings.take(2, 4))
    balances = [added[f"real-one-take{take}-000"].levels for take in (1, 2, 3)]
    assert len(set(balances)) == 3 and all(added[name].facts["real"] == "one" for name in added)
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert main(others) == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == stamps, "what is there is not made again"
    roles["one"]["sub"] = ["bass", 75, "other"]
    (real / "roles.json").write_text(json.dumps(roles))
    split = recordings.stems(recordings.multitrack(real / "one", recordings.songs(real)["one"]), [1.0] * 5)
    assert split[2].any() and np.abs(split[1:3].sum(0) - stems[1]).max() < 1e-6, "both parts are the file again"
    for wrong in (["bass", 75], ["bass", "75", "other"], ["bass", 75, "pad"], ["bass", 30_000, "other"], 3):
        (real / "roles.json").write_text(json.dumps({"one": {"sub": wrong}}))
        with pytest.raises(StemdError, match="one/sub"):
            recordings.songs(real)
    roles["one"]["kick"] = "percussion"
    (real / "roles.json").write_text(json.dumps(roles))
    with pytest.raises(StemdError, match="one/kick: percussion"):
        recordings.songs(real)
    assert main(["render", str(out), "--real", str(real)]) != 0
    with pytest.raises(SystemExit):
        main(["render", str(out), "--real", str(real), "--takes", "0"])


def test_a_take_is_the_record_with_other_levels():
    assert recordings.take(0, 3) == (1.0, 1.0, 1.0)
    gains = np.array([recordings.take(number, 40) for number in range(1, 30)])
    heard = gains[gains > 0]
    assert 0.7 < (gains > 0).mean() < 0.9 and 0.5 < heard.min() < 0.6 and 1.8 < heard.max() < 2
    assert recordings.take(7, 40) == recordings.take(7, 40) != recordings.take(8, 40)


@needs_sound
def test_a_killed_rendering_goes_on_and_gives_the_same(tmp_path: Path):
    """Kill it after the first song; what the second run makes is what an undisturbed one makes."""
    plans = tmp_path / "plans.jsonl"
    assert main(["compose", str(plans), "--songs", "4", "--seconds", "2", "--seed", "3"]) == 0
    render = [
        *(sys.executable, "-m", "stemd.training", "render", "--plans", str(plans), "--held-out", "--words", "1"),
        *("--processes", "1", "--soundfont", str(HELD_OUT_FONT)),
    ]
    broken, smooth = tmp_path / "broken", tmp_path / "smooth"
    first = subprocess.Popen([*render, str(broken)], stderr=subprocess.DEVNULL, start_new_session=True)
    eventually(lambda: list(broken.glob("song-*.json")) or first.poll() is not None, seconds=120)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in broken.glob("song-*.json")}
    assert kept
    plan = read_plans(plans)
    order = {"soundfont": HELD_OUT_FONT, "kind": "held-out", "words": 1, "coded": 0.0}
    shutil.copytree(broken / "voices", smooth / "voices")
    for folder in (broken, smooth):
        fill(Order(folder, **order), plan, 1, Progress("render", 0, "songs"))
    assert {name: (broken / name).stat().st_mtime_ns for name in kept} == kept, "whole songs are not rendered again"
    for song in plan:
        name = f"song-{song.seed}-{song.number:05}.npy"
        assert (broken / name).read_bytes() == (smooth / name).read_bytes()
    assert len(shelf.take([broken])) == 4
    with pytest.raises(StemdError, match="was begun with"):
        fill(Order(broken, HELD_OUT_FONT, "training", 1), plan, 1, Progress("render", 0, "songs"))
