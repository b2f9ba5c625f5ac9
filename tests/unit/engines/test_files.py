"""What becomes files beside the computing thread: the same bytes, errors and end whatever the number of threads."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.core.job import Output
from stemd.engines.audio import ffmpeg, outlet, stem_mp4
from stemd.engines.audio.encode import StemWriter
from stemd.engines.base import CancelledError, SeparationRequest
from stemd.engines.separate import separate
from stemd.engines.stub_engine import StubEngine
from tests.support.audio import write_wav

_SECONDS = 9


@pytest.fixture
def ask(tmp_path) -> SeparationRequest:
    """Long enough for threads, at a rate that is not the model's."""
    for name in ("chunks", "out"):
        (tmp_path / name).mkdir()
    song = write_wav(tmp_path / "song.wav", _SECONDS, 48_000)
    return SeparationRequest(song, tmp_path / "chunks", tmp_path / "out", 4, Output("flac", "16"))


@pytest.fixture
def on(monkeypatch):
    def on(count: int) -> None:
        for module in (outlet, stem_mp4):
            monkeypatch.setattr(module, "threads", lambda: count)

    return on


def run(ask: SeparationRequest, report=lambda progress: None):
    engine = StubEngine()
    return separate(engine, engine.load("stub", ask.out, "cpu"), ask, report)


def at_rest(folder: Path) -> bool:
    """Nothing works on any more, and nothing is held open in ``folder``."""
    held = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    names = [each.name for each in threading.enumerate()]
    return not any(str(folder) in each for each in held) and not any(
        name.startswith(("ahead", "behind", "beside")) for name in names
    )


@pytest.mark.parametrize(
    ("form", "depth", "options"),
    [
        ("flac", "16", {}),
        ("wav", "24", {"residual": "file"}),
        ("wav", "32f", {}),
        ("mp3", "16", {}),
        ("stem.mp4", "24", {"residual": "other"}),
    ],
)
def test_any_number_of_threads_writes_the_same_bytes(form, depth, options, ask, on):
    if form == "stem.mp4" and not ffmpeg.installed():
        pytest.skip("ffmpeg is not installed")
    found = []
    for count in (1, 4):
        on(count)
        result = run(replace(ask, output=Output(form, depth), options=options))
        found.append((result.files, result.outline, [(ask.out / each.name).read_bytes() for each in result.files]))
        assert at_rest(ask.out)
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [1, 4])
def test_of_two_stems_that_fail_the_first_in_order_is_told(count, ask, on, monkeypatch):
    on(count)
    write, blocks = StemWriter.write, {"drums": 0, "bass": 0, "other": 0, "vocals": 0}
    failed = threading.Event()

    def fails(writer, block):
        stem = writer.path.stem
        blocks[stem] += 1
        if blocks[stem] == 3 and stem in {"bass", "vocals"}:
            if stem == "bass" and count > 1:
                failed.wait(60)  # though the other fails before it
            failed.set()
            raise StemdError("STEMD-S014", f"{stem} does not go on")
        write(writer, block)

    monkeypatch.setattr(StemWriter, "write", fails)
    with pytest.raises(StemdError, match="bass does not go on"):
        run(ask)
    assert at_rest(ask.out)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.92, 0.97])
def test_a_cancel_leaves_nothing_at_work_in_any_stage(fraction, count, ask, on):
    on(count)

    def report(progress):
        if progress.fraction >= fraction:
            raise CancelledError

    with pytest.raises(CancelledError):
        run(ask, report)
    assert at_rest(ask.out) and at_rest(ask.chunks)
    assert len(run(ask).files) == 4  # and it can be done again


@pytest.mark.parametrize("count", [1, 4])
def test_what_breaks_while_it_is_read_ahead_ends_the_job(count, ask, on):
    on(count)

    def report(progress):  # the stems are there, all but the last bytes
        part = ask.chunks / "000000.f32"
        if progress.stage == "encode" and part.exists():
            os.truncate(part, part.stat().st_size - 4)

    with pytest.raises(StemdError, match=r"ends \d+ frames early") as raised:
        run(replace(ask, threshold=60.0), report)
    assert raised.value.code == "STEMD-E008" and at_rest(ask.out)


def test_progress_is_even_while_files_are_made(ask, on):
    on(4)
    seen = []
    run(ask, seen.append)
    encode = [each.fraction for each in seen if each.stage == "encode"]
    blocks = -(-_SECONDS * 48_000 // 65_536)
    assert len(encode) == blocks + 4 * blocks + 1 and encode == sorted(encode)
    assert max(after - before for before, after in zip([0.9, *encode], encode, strict=False)) < 0.04
