"""A third party's engine, installed as people install it: every command knows it, and the daemon runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemd.engines.contract import CHECKS
from tests.support.audio import write_wav
from tests.support.daemon import Daemon, eventually

INBOX = {"wide": {"engine": "centre", "model": "similarity", "options": {"focus": 2}, "output": {"format": "flac"}}}


@pytest.fixture
def daemon(plug_in, tmp_path):
    """A daemon, not yet started, that has the plug-in; its limits are in the configuration."""
    made = Daemon(tmp_path, inboxes=INBOX, engines={"centre": {"workers": {"max": 1}, "limits": {"time": "10m"}}})
    made.python = [str(plug_in.python)]
    return made


def ask(daemon: Daemon, *words: str):
    """The JSON answer of a command that has the plug-in."""
    command = [*daemon.python, "-m", "stemd", *words, "-c", str(daemon.config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_the_commands_know_it(daemon):
    (centre,) = [each for each in ask(daemon, "engines")["engines"] if each["name"] == "centre"]
    assert (centre["version"], centre["installed"], centre["models"]) == ("1.0.0", True, [])
    (line,) = [each for each in ask(daemon, "doctor")["findings"] if each["what"] == "engine centre"]
    assert (line["level"], line["message"]) == ("ok", "1.0.0")
    command = [*daemon.python, "-m", "stemd", "config", "check", "-c", daemon.config]
    assert subprocess.run(command, check=False).returncode == 0


def test_it_keeps_the_contract(plug_in):
    command = [plug_in.python, "-m", "stemd.engines.contract", "centre", "similarity"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    assert lines == [f"ok    {check.__name__.replace('_', ' ')}" for check in CHECKS]
    assert last == f"{len(CHECKS)} of {len(CHECKS)} hold"


def test_the_command_says_what_is_wrong(plug_in):
    command = [plug_in.python, "-m", "stemd.engines.contract", "centre", "no-such-model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "STEMD-M002" in done.stderr


def test_a_dropped_song_comes_out_in_centre_and_sides(daemon, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=5.0)
    with daemon:
        assert "centre" in json.loads(daemon.http("/health")[1])["engines"]
        daemon.drop(song, "wide/song.wav")
        eventually(lambda: daemon.results() or daemon.failures(), 60, "it has ended")
        manifest = daemon.results()["song"]
    assert (manifest["engine"], manifest["engine_version"], manifest["model"]) == ("centre", "1.0.0", "similarity")
    assert manifest["settings"]["focus"] == 2
    folder = daemon.spool.outbox / "everyone" / "song"
    centre, sides = (soundfile.read(folder / f"{stem}.flac")[0] for stem in ("centre", "sides"))
    assert np.abs(centre + sides - soundfile.read(song)[0]).max() < 10 ** (-90 / 20)
    assert np.array_equal(centre[:, 0], centre[:, 1])


def test_what_it_refuses_is_explained(daemon, tmp_path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    (daemon.spool.inbox / "song.wav.job.yaml").write_text("engine: centre\nmodel: magic\n")
    with daemon:
        daemon.drop(song)
        eventually(lambda: daemon.results() or daemon.failures(), 60, "it has ended")
        assert daemon.failures()["song.wav"]["code"] == "STEMD-M002"


def test_it_takes_the_middle_from_the_sides(plug_in, tmp_path: Path):
    """What its README says: the middle of a mix comes out in ``centre``, hardly any of it in ``sides``."""
    time = np.arange(3 * 44_100) / 44_100
    middle = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220, 440, 660))
    left, right = (sum(0.1 * np.sin(2 * np.pi * f * time) for f in notes) for notes in ((311, 932), (494, 1175)))
    np.save(tmp_path / "mix.npy", np.stack([middle + left, middle + right], axis=1).astype(np.float32))
    program = (
        "import sys, numpy as np; from pathlib import Path; from stemd.engines.base import create\n"
        "engine = create('centre'); engine.load('similarity', Path(), 'cpu')\n"
        "(lane,) = engine.lanes({}, ['centre', 'sides']); mix = np.load(sys.argv[1])[:lane.segment]\n"
        "found = engine.separate_segments(lane, mix[None])\n"
        "np.savez(sys.argv[2], **{stem: values[0] for stem, values in found.items()})"
    )
    subprocess.run([plug_in.python, "-c", program, tmp_path / "mix.npy", tmp_path / "out.npz"], check=True)
    found = np.load(tmp_path / "out.npz")
    middle = middle[4096 : len(found["centre"]) - 4096]
    apart = found["centre"][4096:-4096, 0] - middle
    assert 10 * np.log10(np.square(middle).mean() / np.square(apart).mean()) > 20
