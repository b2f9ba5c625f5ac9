"""Chunks: kept when good, counted, and checked again when they are put together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stemd.core.errors import StemdError
from stemd.engines.checkpoint import ChunkStore

FRAMES = np.arange(2 * 2 * 10, dtype=np.float32).reshape(10, 2, 2)


def store_in(folder: Path, chunk: int = 4) -> ChunkStore:
    store = ChunkStore(folder, {"model": "m"}, total=10, shape=(2, 2), chunk=chunk)
    store.open()
    return store


def filled(folder: Path, until: int = 10) -> ChunkStore:
    store = store_in(folder)
    store.append(FRAMES[:until])
    store.close()
    return store


def test_what_was_put_in_comes_out(tmp_path: Path):
    store = filled(tmp_path)
    assert np.array_equal(np.concatenate(list(store.read())), FRAMES)
    assert (store.count, store.reused, store.resumes) == (3, 0, 0)


def test_each_attempt_that_goes_on_is_counted(tmp_path: Path):
    filled(tmp_path, until=5)
    for resumes in (1, 2):
        store = store_in(tmp_path)
        assert (store.done, store.reused, store.resumes) == (4, 1, resumes)
    store.append(FRAMES[4:])
    assert np.array_equal(np.concatenate(list(store.read())), FRAMES)


def test_a_fresh_start_forgets_the_resumes(tmp_path: Path):
    filled(tmp_path, until=5)
    store_in(tmp_path)
    assert store_in(tmp_path, chunk=5).resumes == 0


@pytest.mark.parametrize("spoil", ["change", "shorten", "swap", "lose"])
def test_what_does_not_fit_together_is_an_error_and_is_done_again(tmp_path: Path, spoil: str):
    store = filled(tmp_path)
    first, second = tmp_path / "000000.f32", tmp_path / "000001.f32"
    match spoil:
        case "change":
            second.write_bytes(bytes(second.stat().st_size))
        case "shorten":
            second.write_bytes(second.read_bytes()[:-1])
        case "swap":
            content = first.read_bytes()
            first.write_bytes(second.read_bytes())
            second.write_bytes(content)
        case "lose":
            second.unlink()
    with pytest.raises(StemdError) as caught:
        list(store.read())
    assert caught.value.code == ("STEMD-S014" if spoil == "lose" else "STEMD-E008")
    again = store_in(tmp_path)
    assert again.done == (0 if spoil == "swap" else 4)
    assert again.discarded


@pytest.mark.parametrize("spoil", [lambda chunks: chunks.reverse(), lambda chunks: chunks.pop()])
def test_an_order_that_is_not_the_tracks_is_an_error(tmp_path: Path, spoil):
    store = filled(tmp_path)
    spoil(store._chunks)
    with pytest.raises(StemdError) as caught:
        list(store.read())
    assert caught.value.code == "STEMD-E008"


def test_an_index_of_chunks_out_of_order_is_not_used(tmp_path: Path):
    filled(tmp_path)
    index = tmp_path / "index.json"
    document = json.loads(index.read_text())
    document["chunks"].reverse()
    index.write_text(json.dumps(document))
    assert store_in(tmp_path).done == 0


@pytest.mark.parametrize(("chunk", "flushed"), [(100, False), (40, True)])
def test_only_what_may_be_resumed_is_waited_for(chunk, flushed, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("stemd.engines.checkpoint.os.fsync", calls.append)
    store = ChunkStore(tmp_path, {}, 100, (1, 2), chunk)
    store.open()
    store.append(np.ones((100, 1, 2), np.float32))
    store.close()
    assert sum(len(block) for block in store.read()) == 100
    assert bool(calls) == flushed
