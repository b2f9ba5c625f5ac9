"""Fetching over HTTP from a server that drops, truncates, redirects, refuses and lies."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import time
from pathlib import Path

import pytest

from stemd.core.errors import StemdError
from stemd.engines import models
from stemd.engines.models import checksums, quarantine
from stemd.engines.models.web import _seconds
from tests.support.system import needs_root
from tests.unit.engines.models.conftest import MMI, content
from tests.unit.engines.models.hub import Hub, busy, drop_after, redirect_to, reset_after, truncate, unsized, wrong

WEIGHTS = "75fc33f5.safetensors"
MIB = 1 << 20


def record(store: Path, name: str = "hdemucs_mmi") -> dict:
    return json.loads((store / name / "stemd.json").read_text())


def left(store: Path) -> set[str]:
    return {path.name for path in store.iterdir()} - {".hdemucs_mmi.lock"}


def test_a_model_comes_whole_with_what_vouches_for_it(hub, store, patience):
    seen = []
    folder = models.fetch("hdemucs_mmi", store, hub.url, lambda *each: seen.append(each), patience=patience)
    assert folder == store / "hdemucs_mmi" == models.find("hdemucs_mmi", store)
    told = record(store)
    assert told["files"][WEIGHTS] == {
        "sha256": hashlib.sha256(hub.files[f"{MMI}/{WEIGHTS}"]).hexdigest(),
        "bytes": 3 * MIB,
        "checked": "server",
    }
    assert told["files"]["hdemucs_mmi.yaml"]["checked"] == "none"
    assert (told["licence"], told["engine"], told["sample_rate"]) == ("MIT", "demucs", 44_100)
    assert told["source"] == f"{hub.url}{MMI}"
    assert seen[-1] == (WEIGHTS, 3 * MIB, 3 * MIB)
    assert left(store) == {"hdemucs_mmi"}


def test_a_dropped_connection_is_resumed_where_it_broke(hub, store, patience, slept):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [drop_after(MIB), drop_after(MIB // 2)]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    etag = f'"{hashlib.md5(hub.files[f"{MMI}/{WEIGHTS}"]).hexdigest()}"'
    assert [(each.range, each.if_range) for each in hub.content_requests(WEIGHTS)] == [
        (None, None),
        (f"bytes={MIB}-", etag),
        (f"bytes={MIB * 3 // 2}-", etag),
    ]
    assert len(slept) == 2
    assert models.verify("hdemucs_mmi", store)[WEIGHTS] == record(store)["files"][WEIGHTS]["sha256"]


def test_a_reset_is_a_drop_too(hub, store, patience):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [reset_after(MIB // 2)] * 3
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert len(hub.content_requests(WEIGHTS)) == 4
    models.verify("hdemucs_mmi", store)


def test_a_process_that_went_away_is_gone_on_from(hub, store, patience):
    """The first call gives up; the second asks for the rest, and does not ask again for what is whole."""
    hub.faults[f"{MMI}/{WEIGHTS}"] = [drop_after(MIB), *[busy()] * 4]
    with pytest.raises(StemdError, match=r"STEMD-M005"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert not models.present("hdemucs_mmi", store)
    assert left(store) == {".hdemucs_mmi.fetch"}
    kept = (store / ".hdemucs_mmi.fetch" / f"{WEIGHTS}.part").stat().st_size
    assert kept > 0
    hub.asked.clear()
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    (request,) = hub.content_requests(WEIGHTS)
    assert request.range == f"bytes={kept}-"
    assert left(store) == {"hdemucs_mmi"}


def test_what_has_come_whole_is_not_asked_for_again(store, patience):
    hub = Hub()
    base = "/adefossez/Demucs-mdx_extra/resolve/main"
    hub.files[f"{base}/mdx_extra.yaml"] = b"models: ['one', 'two']\n"
    hub.files[f"{base}/one.safetensors"], hub.files[f"{base}/two.safetensors"] = content(1000), content(2000)
    hub.faults[f"{base}/two.safetensors"] = [busy()] * 5
    with pytest.raises(StemdError, match=r"two.safetensors answers 503"):
        models.fetch("mdx_extra", store, hub.url, patience=patience)
    hub.asked.clear()
    models.fetch("mdx_extra", store, hub.url, patience=patience)
    assert [each.path.rsplit("/", 1)[1] for each in hub.asked if hub.serves(each.path)] == [
        "mdx_extra.yaml", "two.safetensors",
    ]  # fmt: skip
    hub.close()


def test_a_file_that_changed_between_two_tries_starts_over(hub, store, patience):
    path = f"{MMI}/{WEIGHTS}"
    after = content(3 * MIB, seed=2)

    def drop_and_change(handler):
        handler.serve(upto=MIB)
        hub.files[path] = after

    hub.faults[path] = [drop_and_change]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert (store / "hdemucs_mmi" / WEIGHTS).read_bytes() == after
    assert hub.content_requests(WEIGHTS)[1].range is not None
    assert not (store / quarantine.FOLDER).exists()


def test_a_server_that_cannot_resume_sends_it_all_again(hub, store, patience):
    path = f"{MMI}/{WEIGHTS}"
    hub.etags[path] = 'W/"weak"'
    hub.faults[path] = [drop_after(MIB)]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert [request.range for request in hub.content_requests(WEIGHTS)] == [None, None]


@pytest.mark.parametrize(
    ("start", "end", "size"), [(7, 3 * MIB, 3 * MIB), (2 * MIB, 3 * MIB, 3 * MIB), (MIB, 3 * MIB, 4 * MIB)]
)
def test_a_range_that_is_not_the_one_asked_for_is_not_used(start, end, size, hub, store, patience):
    path = f"{MMI}/{WEIGHTS}"
    hub.states = False  # nobody states a sha256 that would show it

    def other_range(handler):
        handler.answer(206, bytes(end - start), ETag='"x"', Content_Range=f"bytes {start}-{end - 1}/{size}")

    hub.faults[path] = [drop_after(MIB), other_range]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert (store / "hdemucs_mmi" / WEIGHTS).read_bytes() == hub.files[path]


def test_a_busy_server_is_tried_again_and_its_wish_honoured(hub, store, patience, slept):
    hub.faults[f"{MMI}/hdemucs_mmi.yaml"] = [busy(503, "7"), busy(429, "2")]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert slept == [7.0, 2.0]


def test_a_wish_beyond_all_patience_ends_it(hub, store, patience, slept):
    hub.faults[f"{MMI}/hdemucs_mmi.yaml"] = [busy(503, "86400")]
    with pytest.raises(StemdError, match="it asks for 86400 s"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert slept == []


def test_tries_end(hub, store, patience, slept):
    hub.faults[f"{MMI}/hdemucs_mmi.yaml"] = [busy(502)] * 99
    with pytest.raises(StemdError, match=r"STEMD-M005.*hdemucs_mmi.yaml answers 502.*tried 5 times"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert len(slept) == 4
    assert all(0 <= pause <= 2**number for number, pause in enumerate(slept))
    assert left(store) == set()


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("120", 120.0), (None, None), ("soon", None), ("-1", None)])
def test_retry_after_in_seconds(text, seconds):
    assert _seconds(text) == seconds


def test_retry_after_as_a_date():
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < _seconds(soon) <= 100


def test_a_file_that_is_not_there_is_named_at_once(hub, store, patience, slept):
    del hub.files[f"{MMI}/{WEIGHTS}"]
    with pytest.raises(StemdError, match=rf"there is no {hub.url}{MMI}/{WEIGHTS} \(404\)") as caught:
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert caught.value.code == "STEMD-M005"
    assert slept == []
    assert not models.present("hdemucs_mmi", store)


def test_nobody_answers(store, patience, slept):
    with pytest.raises(StemdError, match=r"STEMD-M005.*no connection"):
        models.fetch("hdemucs_mmi", store, "http://127.0.0.1:9", patience=patience)
    assert len(slept) == 4


def test_wrong_bytes_are_quarantined_and_fetched_again(hub, store, patience):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [wrong]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert (store / "hdemucs_mmi" / WEIGHTS).read_bytes() == hub.files[f"{MMI}/{WEIGHTS}"]
    (held,) = quarantine.held(store)
    assert (held / WEIGHTS).read_bytes() == bytes(3 * MIB)
    assert "instead of" in json.loads((held / "why.json").read_text())["why"]
    assert held.name.startswith("hdemucs_mmi.")


@pytest.mark.parametrize("fault", [wrong, truncate(2 * MIB)])
def test_wrong_bytes_twice_are_refused(fault, hub, store, patience):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [fault] * 2
    with pytest.raises(StemdError, match=r"STEMD-M005.*is not what it should be, twice"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert not models.present("hdemucs_mmi", store)
    assert len(hub.content_requests(WEIGHTS)) == 2
    assert len(quarantine.held(store)) == 2


def test_the_quarantine_keeps_the_last_two(store):
    store.mkdir()
    placed = []
    for number, name in enumerate(["zeta", "alpha.1", "mid"]):
        (store / "bad").write_bytes(bytes(number))
        placed.append(quarantine.put(store / "bad", store, name, "bad"))
    assert quarantine.held(store) == placed[1:]
    assert [(path / "bad").stat().st_size for path in placed[1:]] == [1, 2]


def test_a_part_of_one_source_is_not_gone_on_with_from_another(hub, store, patience):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [drop_after(MIB), *[busy()] * 4]
    with pytest.raises(StemdError):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    other = Hub()
    other.files = dict(hub.files)
    models.fetch("hdemucs_mmi", store, other.url, patience=patience)
    assert [request.range for request in other.content_requests(WEIGHTS)] == [None]
    other.close()


def test_a_part_that_nothing_could_check_is_not_gone_on_with_by_another_call(hub, store, patience):
    hub.states = False
    hub.faults[f"{MMI}/{WEIGHTS}"] = [drop_after(MIB), *[busy()] * 4]
    with pytest.raises(StemdError):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    hub.asked.clear()
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert [request.range for request in hub.content_requests(WEIGHTS)] == [None]


def test_force_begins_from_nothing(hub, store, patience):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [drop_after(MIB), *[busy()] * 4]
    with pytest.raises(StemdError):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    hub.asked.clear()
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience, force=True)
    assert [request.range for request in hub.content_requests(WEIGHTS)] == [None]


def test_the_catalogues_word_counts_more_than_the_servers(hub, store, patience, monkeypatch):
    published = hashlib.sha256(hub.files[f"{MMI}/{WEIGHTS}"]).hexdigest()
    monkeypatch.setitem(checksums.FILES, "hdemucs_mmi", {WEIGHTS: published})
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert record(store)["files"][WEIGHTS]["checked"] == "catalogue"
    hub.files[f"{MMI}/{WEIGHTS}"] = content(1000, seed=3)  # a mirror that states, truly, the sha256 of something else
    with pytest.raises(StemdError, match=f"not {published} \\(stated by the catalogue\\)"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience, force=True)
    assert models.verify("hdemucs_mmi", store)[WEIGHTS] == published, "the one that is here stays"


def test_the_storages_etag_may_look_like_a_sha256_and_be_none(hub, store, patience):
    hub.etags[f"{MMI}/{WEIGHTS}"] = f'"{"ab" * 32}"'
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    hub.states = False
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience, force=True)
    assert record(store)["files"][WEIGHTS]["checked"] == "none"


def test_a_plain_servers_etag_counts_if_it_is_a_sha256(hub, store, patience):
    path = f"{MMI}/hdemucs_mmi.yaml"
    hub.etags[path] = f'"{hashlib.sha256(hub.files[path]).hexdigest()}"'
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert record(store)["files"]["hdemucs_mmi.yaml"]["checked"] == "server"


def test_a_file_without_a_length_comes_too(hub, store, patience):
    hub.faults[f"{MMI}/{WEIGHTS}"] = [unsized]
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    models.verify("hdemucs_mmi", store)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_out_of_the_web_is_refused(address, hub, store, patience):
    hub.faults[f"{MMI}/hdemucs_mmi.yaml"] = [redirect_to(address)]
    with pytest.raises(StemdError, match=r"STEMD-M005.*(not safe|not allowed)"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)


def test_a_redirect_from_https_to_http_is_refused():
    from urllib.request import Request

    from stemd.engines.models.web import _Redirects

    with pytest.raises(StemdError, match="not safe"):
        _Redirects().redirect_request(Request("https://a/x"), None, 302, "", {}, "http://b/x")
    assert (
        _Redirects().redirect_request(Request("http://a/x"), None, 302, "", {}, "https://b/x").full_url == "https://b/x"
    )


def test_too_little_room_is_said_before_anything_comes(hub, store, patience, monkeypatch):
    class Full:
        f_bavail, f_frsize = 100, 4096

    monkeypatch.setattr("os.statvfs", lambda path: Full)
    with pytest.raises(StemdError, match=r"STEMD-R003.*needs 6 MiB more, 0 MiB are free"):
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert (store / ".hdemucs_mmi.fetch" / f"{WEIGHTS}.part").exists() is False


@needs_root
def test_a_disk_that_fills_up_is_left_clean(hub, tmp_path, patience):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        hub.faults[f"{MMI}/{WEIGHTS}"] = [unsized]
        with pytest.raises(StemdError, match=r"STEMD-R003") as caught:
            models.fetch("hdemucs_mmi", disk, hub.url, patience=patience)
        assert "paths.models" in caught.value.remedy
        assert left(disk) == set(), "nothing of it stays on the full disk"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fetch_in_process(url: str, store: Path, started: object, answers: object) -> None:
    started.wait()
    answers.put(str(models.fetch("hdemucs_mmi", store, url)))


def test_two_processes_fetch_it_once(hub, store):
    context = multiprocessing.get_context("spawn")
    started, answers = context.Barrier(3), context.Queue()
    hub.faults[f"{MMI}/{WEIGHTS}"] = [lambda handler: (time.sleep(0.5), handler.serve())]
    both = [context.Process(target=_fetch_in_process, args=(hub.url, store, started, answers)) for _ in range(2)]
    for each in both:
        each.start()
    started.wait()
    assert {answers.get(timeout=300) for _ in both} == {str(store / "hdemucs_mmi")}
    for each in both:
        each.join()
    assert len(hub.content_requests(WEIGHTS)) == 1


def test_offline_nothing_touches_the_network(hub, store, patience, monkeypatch):
    monkeypatch.setenv("STEMD_OFFLINE", "1")
    with pytest.raises(StemdError, match=r"STEMD-M005.*STEMD_OFFLINE forbids the network") as caught:
        models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    assert "--from DIR" in caught.value.remedy
    assert hub.asked == []
    monkeypatch.setenv("STEMD_OFFLINE", "0")
    models.fetch("hdemucs_mmi", store, hub.url, patience=patience)
    asked = len(hub.asked)
    monkeypatch.setenv("STEMD_OFFLINE", "1")
    assert models.fetch("hdemucs_mmi", store, hub.url) == store / "hdemucs_mmi"
    assert models.fetch("hdemucs_mmi", store) == store / "hdemucs_mmi"
    assert len(hub.asked) == asked
