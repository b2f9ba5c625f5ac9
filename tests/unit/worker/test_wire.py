"""The wire carries any message through any pieces, and calls anything else by its name."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemd.worker import wire

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
_MESSAGES = st.lists(st.dictionaries(st.text(), _JSON, max_size=5), max_size=8)


def decode(*pieces):
    decoder = wire.Decoder()
    return [message for piece in pieces for message in decoder.feed(piece)]


@settings(max_examples=40)
@given(_MESSAGES, st.data())
def test_any_chunking_gives_the_same_messages(messages, data):
    stream = b"".join(map(wire.encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*pieces) == messages


@settings(max_examples=40)
@given(_MESSAGES)
def test_byte_by_byte_too(messages):
    stream = b"".join(map(wire.encode, messages))
    assert decode(*(stream[at : at + 1] for at in range(len(stream)))) == messages


@given(st.dictionaries(st.text(), st.text()))
def test_a_message_is_one_line(message):
    line = wire.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


@given(st.binary(max_size=200))
def test_garbage_is_an_error_of_the_wire_and_of_nothing_else(data):
    try:
        messages = decode(data + b"\n")
    except wire.WireError:
        return
    assert messages == [json.loads(line) for line in data.split(b"\n")]


@pytest.mark.parametrize(
    "line", [b"", b"5", b"null", b"[1]", b'"text"', b"{", b"\xff\xfe", b"Traceback (most recent call last):"]
)
def test_what_is_no_object_is_no_message(line):
    with pytest.raises(wire.WireError):
        decode(line + b"\n")


def test_deep_nesting_is_garbage_like_any_other():
    with pytest.raises(wire.WireError):
        decode(b"[" * 100_000 + b"\n")


def test_what_came_before_the_garbage_counts():
    decoder = wire.Decoder()
    stream = decoder.feed(wire.encode({"event": "ready"}) + b"garbage\n")
    assert next(stream) == {"event": "ready"}
    with pytest.raises(wire.WireError):
        next(stream)


def test_an_endless_line_is_not_collected_for_ever():
    decoder = wire.Decoder()
    with pytest.raises(wire.WireError):
        for _ in range(wire.MAX_LINE // 65_536 + 2):
            list(decoder.feed(b"x" * 65_536))


def test_a_line_that_is_too_long_is_refused_also_when_it_is_complete():
    long = wire.encode({"event": "x" * wire.MAX_LINE})
    with pytest.raises(wire.WireError):
        decode(long)


def test_numbers_that_are_none_are_not_sent():
    with pytest.raises(ValueError, match="not JSON compliant"):
        wire.encode({"peak": float("nan")})
