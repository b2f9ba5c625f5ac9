"""What ffmpeg's own programs say about a file: the independent reader of the tests here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def facts(path: Path) -> dict[str, Any]:
    """ffprobe's account of the file: format and streams."""
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def tags(path: Path) -> dict[str, str]:
    """All tags, of the container or its first audio stream (Ogg), names in capitals."""
    found = facts(path)
    sound = next(each for each in found["streams"] if each["codec_type"] == "audio")
    both = {**sound.get("tags", {}), **found["format"].get("tags", {})}
    return {key.upper(): value for key, value in both.items()}


def picture(path: Path) -> bytes:
    """The first attached picture, copied out."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-map", "0:v:0", "-c", "copy"]
    return subprocess.run([*command, "-f", "image2pipe", "pipe:1"], capture_output=True, check=True).stdout


def make(target: Path, *options: str | Path, seconds: float = 1.0) -> Path:
    """A file of noise, made by ffmpeg."""
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", "-f", "lavfi", "-i", f"anoisesrc=d={seconds}:a=0.1"]
    subprocess.run([*command, *map(str, options), str(target)], check=True)
    return target
