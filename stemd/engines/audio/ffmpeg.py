"""Reading with the ``ffmpeg`` program, for what libsndfile does not know: m4a, aac, wma, mp4, mkv, webm and more.

The file's name is handed over with the ``file:`` prefix, only local files and pipes may be opened, and play lists
(which name further files) are not among the formats allowed, so that a dropped file can make ffmpeg read nothing
but itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemd.core.errors import StemdError
from stemd.core.job import printable
from stemd.engines.audio.reader import BLOCK, Probe
from stemd.engines.audio.tags import for_stems

if TYPE_CHECKING:
    from stemd.engines.base import Frames

_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,"
    "mpeg,mpegts,oma,ogg,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma,dsf,iff"
)
_GUARD = ("-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS)
#: Formats whose length is guessed from the bit rate, so that it promises nothing.
_GUESSED = frozenset({"aac", "ac3", "eac3", "mp3", "amr", "dts", "loas", "truehd"})
#: Formats of which ffmpeg calls the whole file's length that of each stream.
_SHARED = frozenset({"asf"})
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
#: The coarsest unit of time, in seconds, that a movie header commonly has (1/600).
_MOVIE_UNIT = 1 / 600
#: ffmpeg's names of tags that Vorbis comments call otherwise.
_TAGS = {
    "ALBUM_ARTIST": "ALBUMARTIST", "TRACK": "TRACKNUMBER", "DISC": "DISCNUMBER", "LYRICS-XXX": "LYRICS",
    "LYRICS-ENG": "LYRICS", "TSRC": "ISRC", "TBPM": "BPM", "TMPO": "BPM",
}  # fmt: skip
#: Layouts of 3 and 4 channels, and which of those that are folded they are brought to: left to itself, ffmpeg would
#: make 2.1 and 4.0 of them. Of all other numbers it makes the layouts that are folded.
_FOLDED = {
    "2.1": "3.0", "3.0": "3.0", "3.0(back)": "3.0", "3.1": "quad", "4.0": "quad", "quad": "quad", "quad(side)": "quad",
}  # fmt: skip
_NO_LANGUAGE = ("LANGUAGE", "und")
_FRONT = "cover (front)"


def installed() -> bool:
    """Whether both programs are on the path."""
    return all(shutil.which(program) for program in ("ffmpeg", "ffprobe"))


def probe(path: Path) -> Probe | None:
    """Recognise the first audio stream of ``path``, or return ``None`` where ffmpeg finds none."""
    sound = "stream=codec_type,codec_name,sample_rate,channels,channel_layout,start_time,duration"
    what = f"{sound}:stream_disposition=attached_pic:format=format_name,duration:format_tags:stream_tags"
    answer = _asked(path, what, stream="")
    streams = answer.get("streams") or []
    stream: dict[str, Any] = next((each for each in streams if each.get("codec_type") == "audio"), {})
    rate = int(stream.get("sample_rate") or 0)
    if not rate:
        return None
    container = answer.get("format", {})
    name = str(container.get("format_name", "")).split(",")[0]
    alone = not any(each is not stream and not _is_picture(each) for each in streams)
    seconds, binding = _length(name, stream, container, alone)
    declared = _frames_of_mov(path, stream, rate, seconds) if name == "mov" and seconds else round(seconds * rate)
    warning = f"the sound in the {name} has no header that states its length: what decodes is used"
    return Probe(
        rate=rate,
        channels=int(stream["channels"]),
        format=f"{name}/{stream.get('codec_name', '')}",
        declared=declared if binding else None,
        tolerance=2048 if name == "mov" else rate // 4,
        expected=declared or None,
        padded=name == "mov",
        layout=_FOLDED.get(str(stream.get("channel_layout")), ""),
        tags=_tags({**container.get("tags", {}), **stream.get("tags", {})}),
        warnings=() if binding else (warning,),
    )


def _length(name: str, stream: dict[str, Any], container: dict[str, Any], alone: bool) -> tuple[float, bool]:
    """How many seconds the sound lasts, and whether that is promised: a container's own length may be a picture's."""
    own, whole = (float(each.get("duration") or 0) for each in (stream, container))
    if own and name not in _SHARED:
        return own, name not in _GUESSED
    end = _seconds(stream.get("tags", {}).get("DURATION", ""))
    seconds = (min(end, whole) if end and whole else end or whole) - max(0.0, float(stream.get("start_time") or 0))
    return max(0.0, seconds), seconds > 0 and bool(end or alone) and name not in _GUESSED


def _seconds(clock: str) -> float:
    """The time ``clock`` tells, hours first, as Matroska's statistics do; 0 where it tells none."""
    found = _CLOCK.fullmatch(clock)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0


def _frames_of_mov(path: Path, stream: dict[str, Any], rate: int, seconds: float) -> int:
    """The frames of an MP4 track, which lasts ``seconds``, without the encoder's delay and padding.

    The edit list tells its length only in units of the movie (often milliseconds); the media's own length is exact,
    and the first packet says how much of it is delay, which ffmpeg drops. Where the two do not agree the track was cut
    by its edit list. Where there is none, the delay is in ``seconds``, and ffmpeg lets the stream start after it.
    """
    media = _asked(path, "stream=duration_ts,time_base", "-ignore_editlist", "1").get("streams") or [{}]
    first = _asked(path, "packet_side_data=skip_samples", "-read_intervals", "%+#1").get("packets") or [{}]
    skipped = sum(int(each.get("skip_samples", 0)) for each in first[0].get("side_data_list", []))
    start = max(0.0, float(stream.get("start_time") or 0))  # also that of sound which begins later than a picture
    frames = round((seconds - min(start, skipped / rate)) * rate)
    if media[0].get("time_base") != f"1/{rate}" or "duration_ts" not in media[0]:
        return frames
    exact = int(media[0]["duration_ts"]) - skipped
    return exact if abs(exact - frames) <= rate * _MOVIE_UNIT else frames


def _asked(path: Path, entries: str, *options: str, stream: str = "a:0") -> dict[str, Any]:
    """ffprobe's answer about the first audio stream, those ``stream`` selects, or all (``""``); empty: none."""
    which = ("-select_streams", stream) if stream else ()
    command = ["ffprobe", "-v", "error", *_GUARD, *options, *which, "-show_entries", entries]
    done = subprocess.run(
        [*command, "-of", "json", _url(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    answer: dict[str, Any] = json.loads(done.stdout.decode("utf-8", "replace") or "{}")
    return answer


def _tags(found: dict[str, str]) -> dict[str, str]:
    upper = {key.upper(): str(value).strip() for key, value in found.items()}
    return for_stems({_TAGS.get(key, key): value for key, value in upper.items() if (key, value) != _NO_LANGUAGE})


def picture(path: Path) -> bytes:
    """The front cover of ``path``, else its first picture, as it stands in the file; empty where it has none."""
    entries = "stream=index:stream_disposition=attached_pic:stream_tags=comment"
    streams = _asked(path, entries, stream="v").get("streams") or []
    attached = [each for each in streams if _is_picture(each)]
    if not attached:
        return b""
    chosen = next((each for each in attached if each.get("tags", {}).get("comment", "").lower() == _FRONT), attached[0])
    command: list[str | bytes] = ["ffmpeg", "-nostdin", "-v", "error", *_GUARD, "-i", _url(path)]
    command += ["-map", f"0:{chosen['index']}", "-c", "copy", "-f", "image2pipe", "pipe:1"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout


def _is_picture(stream: dict[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _url(path: Path) -> bytes:
    return b"file:" + os.fsencode(path)


def blocks(path: Path, probe: Probe) -> Generator[Frames]:
    """Decode the first audio stream of ``path`` at its own rate in blocks of at most ``BLOCK`` frames × channels.

    ffmpeg drops an encoder's delay in front but not its padding at the end; that is left out here.

    Raises:
        StemdError: STEMD-A001, ffmpeg failed before the first frame.
    """
    decoded = _decoded(path, probe)
    return (
        decoded
        if probe.declared is None or not probe.padded
        else _without_padding(decoded, probe.declared, probe.tolerance)
    )


def _without_padding(blocks: Generator[Frames], declared: int, most: int) -> Generator[Frames]:
    """``blocks`` up to frame ``declared``; what comes after it is padding only if it is at most ``most`` frames."""
    held: list[Frames] = []
    count = beyond = 0
    for block in blocks:
        wanted = max(0, declared - count)
        count += len(block)
        if wanted:
            yield block[:wanted]
        if len(block) > wanted:
            held.append(block[wanted:])
            beyond += len(block) - wanted
        if beyond > most:
            yield from held
            held.clear()


def _decoded(path: Path, probe: Probe) -> Generator[Frames]:
    layout = ("-af", f"aformat=channel_layouts={probe.layout}") if probe.layout else ("-ac", str(probe.channels))
    for block in _piped(path, 0, probe.channels, "f32le", "-ar", str(probe.rate), *layout):
        yield block.view("<f4")


def samples(path: Path, track: int, channels: int) -> Generator[NDArray[np.int32]]:
    """Audio track number ``track`` of ``path`` as it stands: blocks of frames × ``channels``, full scale ±2³¹."""
    return _piped(path, track, channels, "s32le")


def _piped(path: Path, track: int, channels: int, form: str, *options: str) -> Generator[NDArray[np.int32]]:
    """What ffmpeg decodes, in its raw format ``form`` with four bytes a sample."""
    command: list[str | bytes] = ["ffmpeg", "-nostdin", "-v", "error", *_GUARD, "-i", _url(path)]
    command += ["-map", f"0:a:{track}", *options, "-c:a", f"pcm_{form}", "-f", form, "pipe:1"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=1 << 20
    )
    assert process.stdout is not None
    count = 0
    try:
        size = 4 * channels
        while data := process.stdout.read(BLOCK * size):
            block = np.frombuffer(data[: len(data) // size * size], "<i4").reshape(-1, channels)
            count += len(block)
            yield block
        status = process.wait()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    if status and not count:
        raise StemdError("STEMD-A001", f"ffmpeg cannot decode {printable(path.name)} (exit status {status})")
