"""Roles: who may do what to whose jobs."""

import pytest

from stemd.core.access import Action, Person, by_uid, owner_by_uid
from stemd.core.config import Config
from stemd.core.errors import StemdError

OWN = {Action.SEE, Action.HEAR, Action.STEER, Action.ERASE}
OTHERS = {
    "user": set(),
    "viewer": {Action.SEE, Action.HEALTH},
    "operator": {Action.SEE, Action.STEER, Action.HEALTH, Action.OPERATE, Action.PRUNE},
    "admin": set(Action),
}


@pytest.mark.parametrize("role", OTHERS)
@pytest.mark.parametrize("action", Action)
def test_what_a_role_may_do(role, action):
    person = Person("ana", role)
    assert person.may(action, "ben") is person.may(action) is (action in OTHERS[role])
    assert person.may(action, "ana") is (action in OTHERS[role] | OWN)


def test_nobody_owns_what_has_no_owner():
    assert not Person(None, "user").may(Action.SEE, None)


def test_a_refusal_says_who_and_what():
    with pytest.raises(StemdError) as refused:
        Person("ana", "viewer").require(Action.STEER, "ben")
    assert refused.value.code == "STEMD-P003"
    assert refused.value.message == "ana (viewer) may not steer jobs of ben"


def test_uids():
    users = {"ana": {"uid": 1001, "role": "operator"}, "ben": {}}
    known = Config.model_validate({"spool": "/s", "users": users})
    assert by_uid(known, 0, 999) == by_uid(known, 999, 999) == Person(None, "admin")
    assert by_uid(known, 1001, 999) == Person("ana", "operator")
    with pytest.raises(StemdError) as refused:
        by_uid(known, 1002, 999)
    assert refused.value.code == "STEMD-P003"


def test_a_uid_that_stands_for_all_who_are_hidden_is_nobodys():
    known = Config.model_validate({"spool": "/s", "users": {"ana": {"uid": 65_534}}})
    with pytest.raises(StemdError) as refused:
        by_uid(known, 65_534, 999)
    assert (refused.value.code, "20-other-users.conf" in refused.value.remedy) == ("STEMD-P003", True)
    assert owner_by_uid(known, 65_534, 999) is None


def test_roots_and_the_daemons_own_files_arrive_for_others():
    known = Config.model_validate({"spool": "/s", "users": {"ana": {"uid": 0}, "ben": {"uid": 999}, "eve": {"uid": 5}}})
    assert [owner_by_uid(known, uid, 999) for uid in (0, 999, 5, 6)] == [None, None, "eve", None]
