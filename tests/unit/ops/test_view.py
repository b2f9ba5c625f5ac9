"""The daemon's picture of itself."""

import dataclasses
import json

import pytest

from stemd.ops.view import DaemonView


def test_a_view_survives_json():
    view = DaemonView(
        True,
        "serving",
        False,
        1.0,
        {"running": 1},
        ({"pid": 7},),
        ({"inbox": "/i"},),
        {"mix": {"loads": True}},
        {"cores": 2},
        limits={"by": "sampling"},
    )
    assert json.loads(json.dumps(view.to_dict())) == {
        "ready": True, "reason": "serving", "draining": False, "jobs": {"running": 1}, "workers": [{"pid": 7}],
        "inboxes": [{"inbox": "/i"}], "engines": {"mix": {"loads": True}}, "scaling": {"cores": 2}, "alerts": [],
        "limits": {"by": "sampling"},
    }  # fmt: skip


def test_a_view_is_never_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DaemonView().ready = True


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        (DaemonView(), "not ready: starting"),
        (DaemonView(reason="recovering"), "not ready: recovering"),
        (DaemonView(True), "0 running, 0 waiting"),
        (DaemonView(True, jobs={"running": 2, "waiting": 3}), "2 running, 3 waiting"),
        (
            DaemonView(True, jobs={"running": 1, "held": 1, "retry_wait": 2}),
            "1 running, 0 waiting, 3 otherwise held up",
        ),
        (DaemonView(True, draining=True, jobs={"running": 1}), "draining: 1 running, 0 waiting"),
        (DaemonView(reason="stopping", draining=True), "not ready: stopping"),
    ],
)
def test_the_state_in_one_sentence(view, sentence):
    assert view.sentence == sentence
