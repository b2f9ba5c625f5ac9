"""Durations, sizes, modes, names and places as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stemd.core.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2),
        ("30m", 1800),
        ("4h", 14400),
        ("30d", 2592000),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5 h", 5400),
        (7, 7),
        ("9999999d", 9_999_999 * 86400),
        (units.LONGEST, units.LONGEST),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        "", "5", "9" * 400 + "d", "99999999d", "5 minutes", "-1s", "1s x", -1, 10**400, True, None, math.inf, math.nan,
        [1],
    ],
)  # fmt: skip
def test_what_is_no_duration(wrong: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        units.duration(wrong)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("6GiB", 6 << 30),
        ("10GB", 10**10),
        ("512MiB", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("7 b", 7),
        ("3kib", 3072),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (f"{2**63 - 1}B", 2**63 - 1),
        ("0.5TiB", 1 << 39),
    ],
)
def test_sizes(text: object, count: int) -> None:
    assert units.size(text) == count


def test_a_size_must_say_which_unit() -> None:
    with pytest.raises(ValueError, match=r"6GiB .* or 6GB"):
        units.size("6G")


@pytest.mark.parametrize(
    "wrong",
    ["", "six", -1, 1.5, True, None, [1], 2**63, 10**400, "8388608TiB", "8388607.9999999999999TiB", "9" * 400 + "B"],
)
def test_what_is_no_size(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        units.size(wrong)


@given(st.integers(0, 10**9) | st.floats(0, units.LONGEST))
@example(0.00001)
@example(100000.5)
@example(5e-324)
@example(math.nextafter(3 * 86400.0, 0.0))
def test_shown_durations_read_back(seconds: float) -> None:
    assert units.duration(units.format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "0.5s"),
        (90, "90s"),
        (1800.0, "30m"),
        (1e-5, "0.00001s"),
        (100000.5, "100000.5s"),
        (1e6, "1000000s"),
    ],
)
def test_durations_are_shown_as_people_write_them(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@given(st.integers(0, units.TOO_LARGE - 1))
def test_shown_sizes_read_back(count: int) -> None:
    assert units.size(units.format_size(count)) == count


@pytest.mark.parametrize(("text", "bits"), [("0640", 0o640), ("640", 0o640), ("0o660", 0o660), ("0777", 0o777)])
def test_modes(text: str, bits: int) -> None:
    assert units.mode(text) == bits


@pytest.mark.parametrize("wrong", [640, 416, "0440", "1777", "0648", "rw-r-----", None])
def test_what_is_no_mode(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        units.mode(wrong)


@pytest.mark.parametrize("good", ["ana", "ana@example.org", "Ana María", "7", "a.b-c_d+e", "日本"])
def test_names_that_are_safe_folders(good: str) -> None:
    assert units.name(good) == good


@given(st.text(max_size=120))
def test_a_safe_name_is_one_plain_part_of_a_path(text: str) -> None:
    try:
        name = units.name(text)
    except ValueError:
        return
    assert Path(name).name == name
    assert not name.startswith((".", "_", "#", "~", "@"))
    assert not name.endswith((".", " ", "\n"))
    assert not set(name) & set('<>:"/\\|?*\0')


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "a/b", ".hidden", "_unknown", "x.part", "a\n", "a ", "@eaDir", "x" * 101, 5]
)
def test_names_that_are_not(bad: object) -> None:
    with pytest.raises(ValueError, match="name"):
        units.name(bad)


@pytest.mark.parametrize(
    "good",
    ["http://h", "https://example.org/hook?a=b@c", "http://127.0.0.1:9093/", "https://[::1]:8/x", "http://h/@ana",
     "http://h#x"],
)  # fmt: skip
def test_addresses(good: str) -> None:
    assert units.url(good) == good


@pytest.mark.parametrize("bad", ["http://", "ftp://h", "h", "http:///x", "http://h:p/x", "http://h /x", 5, None])
def test_what_is_no_address(bad: object) -> None:
    with pytest.raises(ValueError, match="http://"):
        units.url(bad)


@pytest.mark.parametrize(
    "bad", ["http://bot:s3cret@host/", "https://s3cret@host", "http://bot:s3cr/et@host/", "ftp://bot:s3cret@host"]
)
@pytest.mark.parametrize("of", [units.url, lambda address: units.sinks([{"webhook": address}])])
def test_a_password_in_an_address_is_refused_and_not_shown(of: Callable[[str], object], bad: str) -> None:
    with pytest.raises(ValueError, match="without NAME:PASSWORD@") as refused:
        of(bad)
    assert "s3cr" not in str(refused.value)


def test_a_root_that_is_a_link_is_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert units.roots(str(tmp_path / "link")) == (tmp_path / "disk",), "whether it is mounted or not"
    with pytest.raises(ValueError, match="overlap"):
        units.roots([str(tmp_path / "link"), str(tmp_path / "disk")])


def test_roots_must_not_overlap() -> None:
    assert units.roots("/a") == (Path("/a"),)
    assert units.roots(["/a", "/b"]) == (Path("/a"), Path("/b"))
    for wrong in (["/a", "/a/b"], ["/a/b", "/a"], ["/a", "/a"]):
        with pytest.raises(ValueError, match="overlap"):
            units.roots(wrong)
    with pytest.raises(ValueError, match="absolute"):
        units.roots("srv/stemd")


@pytest.mark.parametrize("bad", ["/etc/passwd", "../x", "a/../b", "", "a//b", "a/", "./a", "~x", "a\0b", 3])
def test_files_outside_the_job(bad: object) -> None:
    with pytest.raises(ValueError, match="must be a file"):
        units.relative(bad)


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:9814", ("127.0.0.1", 9814), True),
        ("localhost:0", ("localhost", 0), True),
        ("[::1]:80", ("::1", 80), True),
        ("0.0.0.0:80", ("0.0.0.0", 80), False),
        ("[::]:80", ("::", 80), False),
    ],
)
def test_listen_addresses(text: str, address: tuple[str, int], loopback: bool) -> None:
    assert units.address(units.listen(text)) == address
    assert units.loopback(text) is loopback


@pytest.mark.parametrize("bad", ["9814", ":9814", "host:80", "::1:80", "127.0.0.1:99999", "127.0.0.1:", 80, None])
def test_what_is_no_listen_address(bad: object) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        units.listen(bad)
