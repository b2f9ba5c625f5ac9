"""Recordings cut short under their final names: which formats give it away, and what happens to those that do not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.process.clients import uploads
from tests.process.clients.uploads import recording
from tests.support.daemon import eventually

#: Encoder options by name; docs/uploading.md names the formats.
STATE_THEIR_LENGTH = {
    "pcm.wav": (),
    "long.rf64": ("-f", "wav", "-rf64", "always"),
    "long.w64": (),
    "lossless.flac": (),
    "lossless.wv": (),
    "pcm.aiff": (),
    "pcm.au": ("-c:a", "pcm_s16be"),
    "pcm.caf": (),
    "header.mp3": (),
    "index.m4a": ("-movflags", "+faststart"),
    "video.mka": ("-c:a", "flac"),
    "windows.wma": (),
}
DO_NOT = {
    "bare.mp3": ("-write_xing", "0"),
    "stream.aac": (),
    "stream.ac3": (),
    "vorbis.ogg": ("-c:a", "libvorbis"),
    "opus.opus": ("-c:a", "libopus"),
}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
def test_what_states_its_length_is_refused_and_the_rest_is_warned_of(tmp_path):
    source = recording(tmp_path / "source.wav", 10.0)
    with uploads.daemon_for(tmp_path) as daemon:
        for name, options in (STATE_THEIR_LENGTH | DO_NOT).items():
            whole = _encode(source, tmp_path / name, options)
            (daemon.spool.inbox / name).write_bytes(whole[: len(whole) * 2 // 5])
        wanted = len(STATE_THEIR_LENGTH) + len(DO_NOT)
        eventually(lambda: len(daemon.results()) + len(daemon.failures()) == wanted, 120, "all have ended")
        codes = {name: report["code"] for name, report in daemon.failures().items()}
        assert codes == dict.fromkeys(STATE_THEIR_LENGTH, "STEMD-A002")
        results = {manifest["source"]["name"]: manifest for manifest in daemon.results().values()}
        assert results.keys() == DO_NOT.keys()
        for manifest in results.values():
            assert manifest["source"]["frames"] < 5 * manifest["source"]["sample_rate"]
            assert any("length" in warning or "cut short" in warning for warning in manifest["warnings"])


def _encode(source: Path, target: Path, options: tuple[str, ...]) -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target.read_bytes()
