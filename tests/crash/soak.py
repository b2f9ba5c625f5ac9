"""A soak: everything at once, at random, for as long as one likes, with a ledger of what went in.

``python -m tests.crash.soak --minutes 60`` runs it by hand; ``--seed`` repeats a run's choices (not its timing).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stemd.core.config import load
from stemd.core.errors import StemdError
from stemd.daemon import control
from stemd.spool import deliver, durable, ignore
from stemd.spool.layout import Spool
from tests.support.daemon import Daemon, eventually
from tests.support.spools import violations

_RATE = 44_100
_TITLES = ("Ø song", "12:51", "new\nline", "same", "same", "same", "日本語")
#: No more unfinished recordings at a time than this, so that a run can come to its end.
_MOST_WAITING = 15
#: So long (seconds) processes are left alone when nothing gets done.
_LONGEST_PEACE = 20.0

SETTINGS: dict[str, Any] = {
    "defaults": {"engine": "stub", "model": "stub"},
    "inboxes": {"paced": {"options": {"pace": 0.2}}, "long": {"options": {"pace": 0.3}}},
    "chunking": {"threshold": "2s", "checkpoint": "1s"},
    "retry": {"tries": 3, "base": "50ms", "cap": "300ms"},
    "shutdown": {"drain": "500ms"},
}


def recording(rng: random.Random, seconds: float) -> bytes:
    """A wav file (mono, 16 bit, 44.1 kHz) of noise that no other file has."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(_RATE)
        writer.writeframes(rng.randbytes(2 * round(seconds * _RATE)))
    return file.getvalue()


class Ledger:
    """What was handed in, by sha256, against what came out."""

    def __init__(self) -> None:
        #: How often at least, and at most, each must be there in the end.
        self.least: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        #: What a consumer has taken out of the outbox.
        self.taken: Counter[str] = Counter()

    def doubt(self, content: bytes) -> str:
        """It is about to be handed in: from now on it may come out."""
        digest = hashlib.sha256(content).hexdigest()
        self.most[digest] += 1
        return digest

    def accept(self, digest: str) -> None:
        """It was handed in: it has to come out (once, even if it was handed in again as the same job)."""
        self.least[digest] = 1

    def faults(self, spool: Spool) -> list[str]:
        """What is lost, doubled or unheard of, once the spool is idle."""
        found = self.taken + Counter(digest for area in (spool.outbox, spool.orphan) for digest in sources(area))
        lost = [f"lost: {digest}" for digest in self.least if not found[digest]]
        doubled = [f"{number} times: {digest}" for digest, number in found.items() if number > self.most[digest]]
        return lost + doubled

    def take(self, folder: Path, away: Path) -> None:
        """What a consumer does: check a finished folder, book it, move it away."""
        assert deliver.verify(folder) is not None, folder
        self.taken.update(sources_of(folder))
        folder.rename(away)


def sources(area: Path) -> Iterator[str]:
    """The sha256 of every recording that stands in a finished or failed folder of this area."""
    for folder in area.glob("*/*"):
        yield from sources_of(folder)


def sources_of(folder: Path) -> Iterator[str]:
    for path in (folder / "source").rglob("*"):
        if path.is_file() and ignore.is_audio(path.name):
            yield hashlib.sha256(path.read_bytes()).hexdigest()


class Soak:
    """One daemon, many droppers, and somebody who pulls every plug. All choices come from ``seed``."""

    def __init__(self, home: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.ledger, self.done = Ledger(), Counter[str]()
        self.daemon = Daemon(home, **SETTINGS)
        self.spool = self.daemon.spool
        self._aside = home / "aside"
        self._aside.mkdir()
        self._number = 0
        self._droppers = ThreadPoolExecutor(4, thread_name_prefix="dropper")
        self._drops: list[Future[None]] = []
        self._results, self._interrupted = 0, time.monotonic()

    def run(self, seconds: float, report: Callable[[str], None] = print) -> None:
        """Make trouble for so long, then let everything come to its end.

        Raises:
            AssertionError: something was lost or doubled, an invariant is broken, or the daemon ended by itself.
        """
        until, next_report = time.monotonic() + seconds, time.monotonic() + 60
        acts = [(self._drop, 30), (self._take, 4), (self._reload, 1), (self._retry, 3), (self._cancel, 1)]
        acts += [(self._hold, 1), (self._release, 2), (self._interrupt, 8)]
        with self.daemon:
            while time.monotonic() < until:
                (act,) = self.rng.choices([act for act, _ in acts], [weight for _, weight in acts])
                act()
                self._daemon_is_alive()
                time.sleep(self.rng.uniform(0, 0.3))
                if time.monotonic() > next_report:
                    next_report += 60
                    report(f"{dict(self.done)}")
            self._finish()
            assert self.daemon.stop() == 0
        faults = [*self.ledger.faults(self.spool), *violations(self.spool, [])]
        assert faults == [], faults
        self.done["accepted"] = len(self.ledger.least)
        self.done["results"] = sum(self.ledger.taken.values()) + len(list(self.spool.outbox.glob("*/*")))
        self.done["orphans"] = len(list(self.spool.orphan.glob("*/*")))

    def _daemon_is_alive(self) -> None:
        assert self.daemon.process is not None
        status = self.daemon.process.poll()
        assert status is None, f"the daemon ended by itself with {status}: {self.daemon.log.read_text()[-3000:]}"

    def _finish(self) -> None:
        for drop in self._drops:
            drop.result(timeout=300)
        self._droppers.shutdown()

        def idle() -> bool:
            self._daemon_is_alive()
            for job, _ in self._statuses("held"):
                with suppress(StemdError):
                    self._ask("release", job)
            return not self._waiting()

        eventually(idle, 240, "everything has ended")

    # ---- in

    def _waiting(self) -> list[Path]:
        doors = [self.spool.inbox, *(self.spool.inbox / name for name in SETTINGS["inboxes"])]
        dropped = [path for door in doors for path in door.iterdir() if path not in doors]
        return dropped + list(self.spool.work.iterdir())

    def _drop(self) -> None:
        """Hand some recordings in, one way or another, while other things go on."""
        for _ in range(min(self.rng.randint(1, 4), _MOST_WAITING - len(self._waiting()))):
            self._drop_one()

    def _drop_one(self) -> None:
        self._number += 1
        ways = [self._by_rename, self._slowly, self._staged, self._twice, self._by_command, self._not_music]
        ways += [self._by_rsync] if shutil.which("rsync") else []
        way = self.rng.choices(ways, [6, 3, 3, 2, 1, 1, 3][: len(ways)])[0]
        door = self.rng.choices(["", "paced", "long"], [8, 2, 1])[0]
        content = recording(self.rng, self.rng.uniform(3, 6) if door == "long" else self.rng.uniform(0.05, 1.2))
        title = self.rng.choice([*_TITLES, f"song {self._number}"])
        self.done[way.__name__.strip("_")] += 1
        self._drops.append(self._droppers.submit(way, self.spool.inbox / door, title, f"{self._number}", content))

    def _by_rename(self, door: Path, title: str, number: str, content: bytes) -> None:
        hidden = self._aside / number
        hidden.write_bytes(content)
        self._reveal(hidden, door, title, ".wav", content)

    def _reveal(self, hidden: Path, door: Path, title: str, suffix: str, content: bytes) -> None:
        """Rename into the inbox; who finds his name taken there takes another."""
        digest = self.ledger.doubt(content)
        try:
            durable.rename(hidden, door / f"{title}{suffix}")
        except FileExistsError:
            durable.rename(hidden, door / f"{title} {hidden.name}{suffix}")
        self.ledger.accept(digest)

    def _slowly(self, door: Path, title: str, number: str, content: bytes) -> None:
        digest = self.ledger.doubt(content)
        with (door / f"{title} {number}.wav").open("xb", buffering=0) as file:
            for start in range(0, len(content), 1 << 15):
                file.write(content[start : start + (1 << 15)])
                time.sleep(0.1)
        self.ledger.accept(digest)

    def _by_rsync(self, door: Path, title: str, number: str, content: bytes) -> None:
        source = self._aside / number
        source.write_bytes(content)
        digest = self.ledger.doubt(content)
        command = ["rsync", "-a", str(source), str(door / f"{title} {number}.wav")]
        subprocess.run(command, check=True, timeout=300)
        self.ledger.accept(digest)
        source.unlink()

    def _by_command(self, door: Path, title: str, number: str, content: bytes) -> None:
        source = self._aside / f"{title} {number}.wav"
        source.write_bytes(content)
        digest = self.ledger.doubt(content)
        done = self.daemon.stemd("submit", str(source))
        assert done.returncode == 0, done.stderr
        self.ledger.accept(digest)
        source.unlink()

    def _staged(self, door: Path, title: str, number: str, content: bytes, job: str | None = None) -> None:
        hidden = self._aside / number
        hidden.mkdir()
        (hidden / "in.wav").write_bytes(content)
        wanted = {"input": "in.wav", "stems": 2, **({"job_uuid": job} if job else {})}
        (hidden / "job.json").write_text(json.dumps(wanted))
        self._reveal(hidden, door, title, "", content)

    def _twice(self, door: Path, title: str, number: str, content: bytes) -> None:
        """The same job two times: one result, and the other drop is let go or (after a failure) put into orphan/."""
        job = f"0192f0c1-0000-7000-8000-{int(number):012d}"
        self._staged(door, title, number, content, job)
        time.sleep(0.5)
        self._staged(door, title, f"{number} again", content, job)

    def _not_music(self, door: Path, title: str, number: str, content: bytes) -> None:
        self._by_rename(door, title, number, b"no music " + content[:1000])

    # ---- out

    def _take(self) -> None:
        """A consumer takes finished folders away, those whose jobs stemd is through with."""
        for folder in self.spool.outbox.glob("*/*"):
            document = durable.read_json(folder / "manifest.json")
            if document is not None and not (self.spool.work / document["job_uuid"]).exists():
                away = self._aside / f"taken {self.done['taken']}"
                self.ledger.take(folder, away)
                shutil.rmtree(away)
                self.done["taken"] += 1

    # ---- trouble

    def _interrupt(self) -> None:
        """End a process, if since the last time something got done; on a slow machine nothing ever would otherwise."""
        results = self.daemon.log.read_text().count('"outcome": "done"')
        if results > self._results or time.monotonic() > self._interrupted + _LONGEST_PEACE:
            self._results, self._interrupted = results, time.monotonic()
            self.rng.choices([self._kill_worker, self._kill_daemon, self._stop], [3, 3, 1])[0]()

    def _kill_daemon(self) -> None:
        self.done["daemon kills"] += 1
        self.daemon.kill()
        if self.rng.random() < 0.3:  # once more while it recovers
            self.daemon.start(ready=False)
            time.sleep(self.rng.uniform(0, 1.5))
            self.daemon.kill()
        if self.rng.random() < 0.3:
            self._retry()
        self.daemon.start()

    def _kill_worker(self) -> None:
        assert self.daemon.process is not None
        workers = psutil.Process(self.daemon.process.pid).children()
        if workers:
            with suppress(psutil.NoSuchProcess):
                self.rng.choice(workers).kill()
                self.done["worker kills"] += 1

    def _stop(self) -> None:
        self.done["stops"] += 1
        process = self.daemon.process
        assert process is not None
        process.terminate()
        if self.rng.random() < 0.5:
            time.sleep(self.rng.uniform(0, 0.5))
            process.terminate()
        assert process.wait(timeout=120) in {0, -signal.SIGTERM}  # the second may meet an interpreter on its way out
        self.daemon.start()

    def _reload(self) -> None:
        self.done["reloads"] += 1
        assert self.daemon.process is not None
        self.daemon.process.send_signal(signal.SIGHUP)

    def _retry(self) -> None:
        orphans = [path for path in self.spool.orphan.glob("*/*") if (path / "error.json").exists()]
        if orphans and (report := durable.read_json(self.rng.choice(orphans) / "error.json")) is not None:
            running = self.daemon.process is not None and self.daemon.process.poll() is None
            self._steer("retry", report["job_uuid"]) if running else self.daemon.stemd("retry", report["job_uuid"])

    def _cancel(self) -> None:
        self._steer_one("cancel", "waiting", "running", "retry_wait")

    def _hold(self) -> None:
        self._steer_one("hold", "waiting")

    def _release(self) -> None:
        self._steer_one("release", "held")

    def _steer_one(self, word: str, *states: str) -> None:
        jobs = [job for job, _ in self._statuses(*states)]
        if jobs:
            self._steer(word, self.rng.choice(jobs))

    def _steer(self, word: str, job: str) -> None:
        """Ask; that it is too late for what is asked is an answer as well."""
        try:
            self._ask(word, job)
        except StemdError as error:
            assert error.code in {"STEMD-S016", "STEMD-S017"}, error
            self.done["refused"] += 1
        else:
            self.done[word] += 1

    def _ask(self, word: str, job: str) -> None:
        control.request(load(self.daemon.config, {}, {}).config, {"op": word, "job": job})

    def _statuses(self, *states: str) -> list[tuple[str, dict[str, Any]]]:
        read = ((path.stem, durable.read_json(path)) for path in sorted(self.spool.status.glob("[!.]*.json")))
        return [(job, status) for job, status in read if status and status["state"] in states]


def main() -> None:
    parser = argparse.ArgumentParser(description="Random drops, kills and commands against a real daemon.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--folder", type=Path, help="where to run; a new temporary folder if not given")
    options = parser.parse_args()
    home = options.folder or Path(tempfile.mkdtemp(prefix="stemd-soak-"))
    home.mkdir(exist_ok=True)
    print(f"seed {options.seed}, folder {home}", flush=True)
    soak = Soak(home, options.seed)
    soak.run(60 * options.minutes, lambda line: print(line, flush=True))
    print(f"nothing was lost: {dict(soak.done)}")


if __name__ == "__main__":
    main()
