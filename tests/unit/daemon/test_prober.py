"""The process that looks into recordings."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile as sf

from stemd.core.job import Length
from stemd.daemon.prober import Prober
from tests.support.audio import write_wav
from tests.support.daemon import ended, eventually


@pytest.fixture
def prober() -> Iterator[Prober]:
    made = Prober()
    yield made
    made.close()


def process(prober: Prober) -> psutil.Process | None:
    return psutil.Process(prober._process.pid) if prober._process else None


def unread(prober: Prober) -> int:
    """How many bytes of questions its process has not taken yet."""
    answer = fcntl.ioctl(prober._process.stdin.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def test_says_what_a_recording_declares(prober: Prober, tmp_path: Path):
    song = write_wav(tmp_path / "song.wav", seconds=1.5, rate=48_000, channels=1)
    song = song.rename(tmp_path / "song \udcff\n.wav")
    assert prober.length(song) == Length(1.5, 48_000, 1)
    first = process(prober)
    assert prober.length(tmp_path / "absent.wav") is None
    (tmp_path / "text.mp3").write_text("no music")
    assert prober.length(tmp_path / "text.mp3") is None
    assert process(prober) == first, "one process answers all"


def test_a_process_that_dies_costs_one_answer(prober: Prober, tmp_path: Path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    assert prober.length(song) is not None
    child = process(prober)
    child.suspend()
    eventually(lambda: child.status() == psutil.STATUS_STOPPED, what="it has been stopped")
    asked: list[Length | None] = []
    thread = threading.Thread(target=lambda: asked.append(prober.length(song)))
    thread.start()
    eventually(lambda: unread(prober) > 0, what="it has been asked")
    child.kill()
    thread.join(120)
    assert asked == [None]
    assert prober.length(song) == Length(1.0, 44_100, 2)


def test_several_are_answered_behind_the_callers_back(prober: Prober, tmp_path: Path):
    songs = [write_wav(tmp_path / f"{n}.wav", seconds=float(n)) for n in (1, 2)]
    heard = threading.Event()
    answer = prober.lengths(songs, heard.set)
    assert heard.wait(120)
    assert [length.seconds for length in answer.result() if length] == [1.0, 2.0]


def test_ends_when_nobody_asks_any_more(prober: Prober, tmp_path: Path):
    prober.length(write_wav(tmp_path / "song.wav", seconds=1.0))
    prober.trim(time.monotonic())
    assert process(prober)
    prober.trim(time.monotonic() + 3600)
    assert process(prober) is None


def test_ends_with_its_daemon(tmp_path: Path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        prober = Prober()
        prober.length(song)
        os.write(writer, str(prober._process.pid).encode())
        os._exit(0)
    os.close(writer)
    pid = int(os.read(reader, 32))
    os.close(reader)
    os.waitpid(child, 0)
    eventually(lambda: not psutil.pid_exists(pid) or ended(psutil.Process(pid)), what="it has ended")


def test_a_header_that_promises_the_impossible_is_not_believed(prober: Prober, tmp_path: Path):
    """Neither a stream that does not state its length nor one that lies about it."""
    whole = tmp_path / "whole.flac"
    sf.write(whole, np.zeros((44_100, 2)), 44_100, subtype="PCM_16")
    assert prober.length(whole) == Length(1.0, 44_100, 2)
    for name, frames in {"unstated": 0, "lie": (1 << 36) - 1}.items():
        data = bytearray(whole.read_bytes())
        data[21] = data[21] & 0xF0 | frames >> 32
        data[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
        (tmp_path / f"{name}.flac").write_bytes(data)
        assert prober.length(tmp_path / f"{name}.flac") is None


def test_nobody_is_asked_once_it_is_closed(prober: Prober, tmp_path: Path):
    song = write_wav(tmp_path / "song.wav", seconds=1.0)
    prober.close()
    assert prober.length(song) is None
    assert process(prober) is None
