"""An outline is drawn only where its document has the form that stemd writes, and a look at any other costs nothing."""

import json
import time

import pytest

from stemd.ops.web import waves

FORM = {
    "version": 2, "channels": 1, "length": 2, "sample_rate": 44_100, "samples_per_pixel": 4410, "bits": 16,
    "data": [-16_384, 16_384, 0, 32_767], "stems": ["vocals"],
}  # fmt: skip


def outlines(**changed):
    return waves.outlines(json.dumps(FORM | changed).encode())


def test_a_document_of_ours():
    (outline,) = outlines()
    assert (outline.stem, outline.seconds, outline.pairs) == ("vocals", 0.2, [(-0.5, 0.5), (0.0, 32_767 / 32_768)])
    assert outlines(bits=8, data=[-64, 64, 0, 127])[0].pairs == [(-0.5, 0.5), (0.0, 127 / 128)]


@pytest.mark.parametrize("bits", [0, 1, 24, -16, 30_000_000, 10**18, 1e300, 15.5, True, None, "16", [16], {}])
def test_values_have_as_many_bits_as_we_write(bits):
    started = time.process_time()
    assert outlines(bits=bits) == []
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize("key", ["channels", "length", "sample_rate", "samples_per_pixel"])
@pytest.mark.parametrize("number", [0, -1, 1.0, True, None, 10**400, 1e999])
def test_numbers_are_such_as_recordings_have(key, number):
    assert outlines(**{key: number}) == []
