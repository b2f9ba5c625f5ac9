"""audio-separator as a side of the contest, with the weights that the demucs command gets.

It looks a model up in a list that it keeps beside the models, and fetches the list and the files only where they are
not there (its ``Separator.download_model_files``); so with both in place it needs no network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stemd.cli.bench.figures import Run
from stemd.cli.bench.processes import program
from stemd.cli.bench.sides import require, timed

_LISTS = (
    "vr_download_list", "mdx_download_list", "mdx_download_vip_list", "mdx23c_download_list",
    "mdx23c_download_vip_list", "roformer_download_list",
)  # fmt: skip
_NOWHERE = "https://localhost/"


@dataclass(frozen=True, slots=True)
class AudioSeparator:
    """The command ``program`` with the model called ``model`` of ``repo``; it writes below ``out``.

    It does what the demucs command does: no shifts, a quarter of overlap, and no change of level.
    """

    program: Path
    model: str
    repo: Path
    out: Path
    threads: int

    def list_model(self) -> None:
        """Write the list in which it finds the model, for the files that are in ``repo``."""
        files = [path.name for path in sorted(self.repo.glob("*.th"))] + [f"{self.model}.yaml"]
        models = {f"Demucs v4: {self.model}": {name: _NOWHERE + name for name in files}}
        lists: dict[str, dict[str, dict[str, str]]] = {**{key: {} for key in _LISTS}, "demucs_download_list": models}
        (self.repo / "download_checks.json").write_text(json.dumps(lists))

    def version(self) -> str:
        """What it says of itself."""
        return program([str(self.program), "--version"], "audio-separator").split()[-1]

    def call(self, files: Sequence[Path]) -> Run:
        """One call for all ``files``; their stems lie as the demucs command would leave them.

        Raises:
            StemdError: STEMD-E006, it failed.
        """
        log = self.repo / "audio-separator.log"
        self.out.mkdir(exist_ok=True)
        settings = ["-m", f"{self.model}.yaml", "--model_file_dir", str(self.repo), "--output_dir", str(self.out)]
        equal = ["--demucs_shifts", "0", "--demucs_overlap", "0.25", "--normalization", "1.0"]
        command = [str(self.program), *settings, *equal, "--output_format", "WAV", *map(str, files)]
        run, code = timed(command, log, self.threads, {"TMPDIR": str(self.repo)})
        for file in files:
            self._sort(file)
        require("audio-separator", code, [self.result(file) for file in files], log)
        return run

    def result(self, file: Path) -> Path:
        """Where the stems of ``file`` are."""
        return self.out / file.stem

    def _sort(self, file: Path) -> None:
        """``SONG_(Vocals)_MODEL.wav`` → ``SONG/vocals.wav``."""
        folder, begin, end = self.result(file), f"{file.stem}_(", f")_{self.model}.wav"
        folder.mkdir(exist_ok=True)
        for path in self.out.glob("*.wav"):
            if path.name.startswith(begin) and path.name.endswith(end):
                path.rename(folder / f"{path.name[len(begin) : -len(end)].lower()}.wav")
