"""Who may come in: tokens and roles, from where, how often."""

import time

import pytest

from stemd.ops.web.bucket import Buckets, Rate, neighbourhood
from tests.unit.ops.web.conftest import ROLES, token
from tests.unit.ops.web.test_probes import PATHS


@pytest.mark.parametrize("path", PATHS)
def test_beyond_loopback_only_a_users_token_opens(place, path):
    client = place.client(local=False)
    digest = place.config.users["ada"].token_sha256
    refused = [
        "", "Bearer", "Bearer ", f"Basic {token('ada')}", "Bearer wrong", f"Bearer {digest}", token("ada"),
        f"Bearer {token('ada')} x", "Bearer \u00e4",
    ]  # fmt: skip
    for header in refused:
        answer = client.get(path, headers={"authorization": header.encode("latin-1")})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="stemd"'), header
        assert "stemd_" not in answer.text
    for scheme in ("Bearer", "bearer"):
        answer = client.get(path, headers={"authorization": f"{scheme} {token('ada')}"})
        assert answer.status_code == (404 if path in {"/absent", "/api/jobs/0"} else 200)


def test_beyond_loopback_without_tokens_nobody_enters(place):
    place.config = place.config.model_copy(update={"users": {}})
    assert place.client(local=False).get("/health", headers={"authorization": "Bearer "}).status_code == 401


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("path", ["/health", "/metrics", "/readyz?verbose"])
def test_health_is_for_those_who_may_see_it(place, name, path):
    answer = place.as_(name).get(path)
    assert answer.status_code == (403 if ROLES[name] == "user" else 200)
    assert "stemd_" not in answer.text or ROLES[name] != "user"
    assert place.as_(name).get("/livez").status_code == place.as_(name).get("/readyz").status_code == 200


def test_a_changed_token_counts_at_once(place):
    client = place.as_("ada")
    assert client.get("/health").status_code == 200
    place.config = place.config.model_copy(update={"users": {"ada": place.config.users["vera"]}})
    assert client.get("/health").status_code == 401


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9814", "LOCALHOST", "127.0.0.1:9814", "[::1]:9814", "10.0.0.7"]
)
def test_on_loopback_addresses_and_localhost_are_names_for_it(place, host):
    assert place.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:9814", "localhost.evil.example", "", "[evil]"]
)
def test_on_loopback_no_other_name_is(place, host):
    """DNS rebinding: a page's own name that points to 127.0.0.1."""
    answer = place.get("/health", headers={"host": host})
    assert answer.status_code == 421
    assert "packages" not in answer.text
    assert place.as_("ada").get("/health", headers={"host": host}).status_code == 200, "who shows a token is no victim"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_what_a_proxy_passes_on_is_not_taken_for_local(place, header):
    answer = place.get("/health", headers={header: "203.0.113.9"})
    assert answer.status_code == 421
    assert "http.tokens" in answer.text
    assert place.as_("ada").get("/health", headers={header: "203.0.113.9"}).status_code == 200


def test_who_floods_is_slowed_down_and_nobody_else(place):
    client = place.client(local=False)
    wrong = {"authorization": "Bearer wrong"}
    answers = [client.get("/health", headers=wrong) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    right = client.get("/health", headers={"authorization": f"Bearer {token('ada')}"})
    assert right.status_code == 200, "from the same address"


def test_a_bucket_empties_and_fills_again():
    buckets = Buckets(Rate(burst=2, each_second=0.5))
    assert [buckets.take("ana", 0.0) for _ in range(3)] == [0.0, 0.0, 2.0]
    assert buckets.take("bo", 0.0) == 0.0
    assert buckets.take("ana", 1.0) == 1.0
    assert buckets.take("ana", 2.0) == 0.0
    assert buckets.take("ana", 1000.0) == buckets.take("ana", 1000.0) == 0.0 < buckets.take("ana", 1000.0)


def test_the_memory_of_askers_is_bounded():
    buckets = Buckets(Rate(burst=1, each_second=1), most=10)
    for number in range(1000):
        buckets.take(str(number), time.monotonic())
    assert len(buckets) == 10


def test_a_machine_has_one_bucket_whatever_its_addresses():
    assert neighbourhood("2001:db8:1:2::1") == neighbourhood("2001:db8:1:2:ffff::9") != neighbourhood("2001:db8:1:3::1")
    assert neighbourhood("::ffff:192.0.2.1") == neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")


def test_a_token_that_nobody_has_is_told_of(place):
    stranger = place.client(local=False)
    assert stranger.get("/api/jobs").status_code == 401
    assert place.refused == [], "who shows nothing has tried nothing"
    assert stranger.get("/api/jobs", headers={"authorization": "Bearer no-such-token"}).status_code == 401
    assert stranger.post("/sign-in", data={"token": "no-such-token"}).status_code == 401
    assert place.refused == [(None, "sign_in", None)] * 2
