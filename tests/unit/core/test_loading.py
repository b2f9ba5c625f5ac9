"""Files, drop-ins, environment and flags into one configuration; every fault at once, in its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stemd.core.config import Config, load, peek, places
from stemd.core.config.dump import dump, leaves
from stemd.core.config.sample import flow
from stemd.core.errors import StemdError

CONTRACT = """\
spool: /srv/stemd                       # or a list of roots
inboxes:                                # beyond the default `inbox/`
  karaoke: {engine: spleeter, model: 2stems, stems: 2, user: ana, watch: auto}
  mixes:   {engine: mix}
  stager:  {trust: manifest}
defaults: {engine: demucs, model: htdemucs, stems: 4, output: {format: flac, bit_depth: 24, mode: 0640, group: stemd},
           source: keep, settle: 2s, settle_unprobed: 30s, user: everyone}
paths:    {state: ROOT/.state, models: /var/cache/stemd/models, run: /run/stemd}
models:   {fetch: auto, from: null}
shutdown: {drain: 30s}
log:      {format: auto, level: info}
compliance: {purpose: null, region: null}
engines:
  demucs:   {device: auto, precision: auto, workers: {min: 0, max: auto, idle: 5m},
             limits: {memory: 6GiB, cpu: auto, time: 4h}}
  spleeter: {environment: auto, workers: {min: 0, max: 1}}
  mix:      {workers: {min: 0, max: auto}}
chunking: {threshold: 10m, checkpoint: 60s}
retry: {tries: 5, base: 30s, cap: 1h}
users:  {ana: {role: user, quota: standard, uid: 1001, token_sha256: "%s", engines: [demucs], models: [htdemucs]}}
quotas: {standard: {running: 2, waiting: 200, memory: 12GiB, audio_per_day: 10h, cpu_per_day: 20h,
                    outbox: 50GiB, over: defer}}
retention: {outbox: 30d, orphan: 14d, status: 7d, audit: 365d}
http:   {listen: 127.0.0.1:9814, audio: false}
alerts: {failure_ratio: {over: 0.1, window: 30m}, latency_p95: {over: 1h}, oom: {count: 3, window: 1h},
          aborts: {count: 3, window: 1h}, resources: {memory: 0.9, cpu: 0.95, for: 10m}, disk: {below: 0.05},
          canary: {every: 1h}, sinks: [log, {webhook: "https://example.org/hook"}]}
handoff: {webhook: "https://example.org/h", command: [/bin/next, -v], directory: /srv/next}
executor: local                         # or ray
""" % ("ab" * 32)
HOME = {"HOME": "/home/ana"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stemd.yaml"


def faults(file: Path, text: str, **environ: str) -> dict[str, dict[str, Any]]:
    file.write_text(text)
    with pytest.raises(StemdError) as caught:
        load(file, environ={**HOME, **environ})
    assert caught.value.code == "STEMD-C002"
    return {fault["key"]: fault for fault in caught.value.detail["faults"]}


def test_a_spool_is_enough() -> None:
    config = load(flags={"spool": "/srv/stemd"}, environ=HOME).config
    root = Path("/srv/stemd")
    assert config.spool == (root,)
    assert (config.defaults.engine, config.defaults.model, config.defaults.stems) == ("demucs", "htdemucs", 4)
    assert config.defaults.output.mode == 0o640
    assert config.engines["spleeter"].workers.max == 1
    assert config.engine("a-plug-in").limits.memory == 6 << 30
    assert config.paths.models == Path("/home/ana/.cache/stemd/models")
    assert (config.state_of(root), config.run_of(root)) == (root / ".state", root / ".state")


def test_the_contracts_example_is_accepted(file: Path) -> None:
    file.write_text(CONTRACT)
    config = load(file, environ=HOME).config
    assert config.inboxes["karaoke"].stems == 2
    assert config.inboxes["stager"].trust == "manifest"
    assert config.defaults.output.group == "stemd"
    assert config.paths.state is None
    assert config.paths.run == Path("/run/stemd")
    assert config.engines["demucs"].workers.max == "auto"
    assert config.engines["demucs"].limits.time == 14400.0
    assert config.users["ana"].engines == ("demucs",)
    assert config.quotas["standard"].audio_per_day == 36000.0
    assert config.alerts.resources is not None
    assert config.alerts.resources.for_ == 600.0
    assert config.alerts.sinks == (("log",), ("webhook", "https://example.org/hook"))
    assert config.models.from_ is None
    assert config.handoff.command == ("/bin/next", "-v")


def test_the_places_systemd_gives() -> None:
    environ = {"STEMD_SPOOL": "/s", "CACHE_DIRECTORY": "/var/cache/stemd:/x", "RUNTIME_DIRECTORY": "/run/stemd"}
    for found in (load(environ=environ).config.paths, peek(environ=environ)):
        assert (found.models, found.run) == (Path("/var/cache/stemd/models"), Path("/run/stemd"))


def test_later_layers_win_and_say_where_they_are(file: Path) -> None:
    file.write_text(
        "spool: /srv/a\nretry:\n  tries: 1\n  base: 1s\n  cap: 1m\nlog: {level: info}\nhttp:\nshutdown: {drain: 9s}\n"
    )
    drop_ins = file.with_name("stemd.yaml.d")
    drop_ins.mkdir()
    (drop_ins / "20.yaml").write_text("retry:\n  cap: 3m\nshutdown:\n")
    (drop_ins / "10.yaml").write_text("retry: {cap: 2m, base: 2s}\nengines: {demucs: {device: cpu}}\n")
    (drop_ins / ".hidden.yaml").write_text("nonsense: 1")
    (drop_ins / "30.yaml.bak").write_text("nonsense: 1")
    environ = {**HOME, "STEMD_LOG__LEVEL": "debug", "STEMD_ENGINES__DEMUCS__WORKERS__MAX": "3", "STEMD_OTHER": "x"}
    loaded = load(file, {"http.listen": "127.0.0.1:0", "spool": None}, environ)
    config, origins = loaded.config, loaded.origins
    assert (config.retry.tries, config.retry.base, config.retry.cap) == (1, 2.0, 180.0)
    assert (config.engines["demucs"].device, config.engines["demucs"].workers.max) == ("cpu", 3)
    assert config.log.level == "debug"
    assert config.shutdown.drain == 9.0
    assert config.http.listen == "127.0.0.1:0"
    assert [path.name for path in loaded.files] == ["stemd.yaml", "10.yaml", "20.yaml"]
    assert origins["retry.tries"] == f"{file}:3:10"
    assert origins["retry.base"] == f"{drop_ins / '10.yaml'}:1:24"
    assert origins["retry.cap"] == f"{drop_ins / '20.yaml'}:2:8"
    assert origins["log.level"] == "env STEMD_LOG__LEVEL"
    assert origins["engines.demucs.workers.max"] == "env STEMD_ENGINES__DEMUCS__WORKERS__MAX"
    assert origins["http.listen"] == "flag --http-listen"
    assert origins["engines.spleeter.workers.max"] == "default"
    assert origins["http.audio"] == "default"


def test_the_environment_finds_names_with_capitals(file: Path) -> None:
    file.write_text("spool: /s\ninboxes: {Karaoke: {engine: mix}}\n")
    config = load(file, environ={**HOME, "STEMD_INBOXES__KARAOKE__ENGINE": "demucs"}).config
    assert config.inboxes["Karaoke"].engine == "demucs"


def test_environment_values_are_yaml() -> None:
    environ = {
        **HOME,
        "STEMD_SPOOL": "[/a, /b]",
        "STEMD_COMPLIANCE__REGION": "NO",
        "STEMD_DEFAULTS__OUTPUT__MODE": "0660",
    }
    config = load(environ=environ).config
    assert config.spool == (Path("/a"), Path("/b"))
    assert config.compliance.region == "NO"
    assert config.defaults.output.mode == 0o660


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("STEMD_SCALING", "{reserve: 2GiB}", "scaling.reserve", "2GiB"),
        ("STEMD_SCHEDULING", "{aging: 5m}", "scheduling.aging", "5m"),
        ("STEMD_GOVERNOR", "{cgroups: never}", "governor.cgroups", "never"),
        ("STEMD_SELF_AUDIT", "{every: 1h}", "self_audit.every", "1h"),
        ("STEMD_RETRY", "{tries: 2}", "retry.tries", 2),
    ],
)
def test_the_environment_sets_whole_sections(name: str, text: str, key: str, value: object) -> None:
    loaded = load(flags={"spool": "/s"}, environ={**HOME, name: text})
    assert dict(leaves(dump(loaded.config)))[key] == value
    assert loaded.origins[key] == f"env {name}"


def test_all_faults_at_once_in_their_places(file: Path) -> None:
    text = (
        "spol: /srv/stemd\n"
        "http:\n"
        "  listn: 127.0.0.1:1\n"
        "  audio: yes\n"
        "retry: {tries: 0, base: 2h}\n"
        "defaults: {settle: 5, output: {format: flc}}\n"
        "users: {ana: {quota: standart, role: 7}}\n"
        "quotas: {standard: {running: 2.5}}\n"
        "level: debug\n"
        "inboxes: {../x: {}, k: {user: anna}}\n"
        "http: {}\n"
    )
    found = faults(file, text, STEMD_LOG__FORMAT="xml", STEMD_HTPP__LISTEN="1")
    places_of = {key: (fault["line"], fault["column"]) for key, fault in found.items()}
    assert places_of == {
        "spool": (1, 1),
        "spol": (1, 1),
        "http.listn": (3, 3),
        "http.audio": (4, 10),
        "retry.tries": (5, 16),
        "retry.base": (5, 25),
        "defaults.output.format": (6, 40),
        "users.ana.quota": (7, 22),
        "users.ana.role": (7, 38),
        "quotas.standard.running": (8, 30),
        "level": (9, 1),
        "inboxes.../x": (10, 11),
        "inboxes.k.user": (10, 31),
        "http": (11, 1),
        "log.format": (None, None),
        "htpp": (None, None),
    }
    hints = {"spol": "spool", "http.listn": "listen", "users.ana.quota": "standard", "inboxes.k.user": "ana"}
    for key, meant in {**hints, "level": "log.level", "htpp": "http", "defaults.output.format": "flac"}.items():
        assert f"did you mean {meant}?" in found[key]["message"], found[key]
    assert found["log.format"]["file"] == "env STEMD_LOG__FORMAT"


@pytest.mark.parametrize(
    ("text", "key", "word"),
    [
        ("retry: {tries: '5'}", "retry.tries", "whole number, not '5'"),
        ("retry: {tries: true}", "retry.tries", "whole number"),
        ("retry: 5", "retry", "must be a mapping"),
        ("inboxes: []", "inboxes", "must be a mapping"),
        ("engines: 3", "engines", "must be a mapping"),
        ("engines: {demucs: 3}", "engines.demucs", "must be a mapping"),
        ("engines: {demucs: {workers: {min: 3, max: 2}}}", "engines.demucs.workers.min", "workers.max"),
        ("engines: {demucs: {limits: {memory: 6G}}}", "engines.demucs.limits.memory", "6GiB"),
        ("http: {listen: 0.0.0.0:80}", "http.listen", "token"),
        ("alerts: {disk: {below: 5}}", "alerts.disk.below", "less than or equal to 1"),
        ("alerts: {sinks: [mail]}", "alerts.sinks", "log or {webhook"),
        ("users: {a: {uid: 1}, b: {uid: 1}}", "users.b.uid", "that of a"),
        ("users: {a: {}, b: {}}\ninboxes: {a: {user: b}}", "inboxes.a.user", "folder of the user"),
        ("inboxes: {a: {next: mixs}, mixes: {engine: mix}}", "inboxes.a.next", "did you mean mixes"),
        ("inboxes: {a: {next: b}, b: {engine: demucs}}", "inboxes.a.next", "takes one recording"),
        ("defaults: {next: mixes}", "defaults.next", "no inbox 'mixes'"),
        ("defaults: {engine: plug}", "defaults", "add defaults.model"),
        ("defaults: {engine: demuc, model: x}", "defaults.engine", "did you mean demucs?"),
        ("paths: {models: cache}", "paths.models", "absolute"),
        ("paths: 5", "paths", "must be a mapping"),
        ("defaults: {output: {mode: 640}}", "defaults.output.mode", "0640"),
        ("log: {level: null}", "log.level", "not nothing"),
    ],
)
def test_wrong_values(file: Path, text: str, key: str, word: str) -> None:
    found = faults(file, f"spool: /s\n{text}\n")
    assert list(found) == [key]
    assert word in found[key]["message"]


def test_several_spools_do_not_share_a_state_folder(file: Path) -> None:
    assert "share" in faults(file, "spool: [/a, /b]\npaths: {state: /x}")["paths.state"]["message"]


def test_syntax_and_shape(file: Path) -> None:
    assert faults(file, "spool: [")[""]["line"] is not None
    assert "mapping" in faults(file, "- spool")[""]["message"]


def test_another_engine_brings_its_own_model(file: Path) -> None:
    file.write_text("spool: /s\ndefaults: {engine: spleeter}\n")
    assert load(file, environ=HOME).config.defaults.model == "4stems"
    file.write_text("spool: /s\ndefaults: {model: nano}\n")
    assert load(file, environ=HOME).config.defaults.stems == ()


def test_ray_is_refused_with_its_own_code(file: Path) -> None:
    file.write_text("spool: /s\nexecutor: ray\n")
    with pytest.raises(StemdError, match=r"stemd.yaml:2:11: .*ray") as caught:
        load(file, environ=HOME)
    assert caught.value.code == "STEMD-C003"


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SYSTEM_FILE", tmp_path / "etc.yaml")
    with pytest.raises(StemdError, match=r"looked for .*etc.yaml, .*stemd/stemd.yaml") as caught:
        load(environ={"HOME": str(tmp_path)})
    assert caught.value.code == "STEMD-C001"
    with pytest.raises(StemdError, match="No such file"):
        load(tmp_path / "missing.yaml", environ={"STEMD_SPOOL": "/s"})


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SYSTEM_FILE", tmp_path / "etc.yaml")
    user = tmp_path / "xdg" / "stemd" / "stemd.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("spool: /user")
    (tmp_path / "unit").mkdir()
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "CONFIGURATION_DIRECTORY": str(tmp_path / "unit")}
    assert load(environ=environ).config.spool == (Path("/user"),)
    (tmp_path / "unit" / "stemd.yaml").write_text("spool: /unit")
    assert load(environ=environ).config.spool == (Path("/unit"),)
    (tmp_path / "etc.yaml").write_text("spool: /etc-one")
    assert load(environ=environ).config.spool == (Path("/etc-one"),)
    (tmp_path / "own.yaml").write_text("spool: /own")
    assert load(environ={**environ, "STEMD_CONFIG": str(tmp_path / "own.yaml")}).config.spool == (Path("/own"),)


def test_peek_agrees_with_load_and_looks_past_other_faults(file: Path) -> None:
    file.write_text(CONTRACT)
    config, glance = load(file, environ=HOME).config, peek(file, environ=HOME)
    assert (glance.spool, glance.models, glance.run) == (config.spool, config.paths.models, config.paths.run)
    file.write_text("spool: /s\nhttp: nonsense\n")
    assert peek(file, environ=HOME).spool == (Path("/s"),)
    file.write_text("spool: s\n")
    with pytest.raises(StemdError, match=r"stemd.yaml:1:8: spool: .*absolute"):
        peek(file, environ=HOME)


def test_peek_does_not_import_pydantic(file: Path) -> None:
    file.write_text("spool: /s\n")
    code = (
        "import sys; from pathlib import Path; from stemd.core.config import peek; peek(Path(sys.argv[1]));"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=60)


def test_the_configuration_is_frozen() -> None:
    config = Config.model_validate({"spool": "/s"})
    with pytest.raises(ValueError, match="frozen"):
        config.executor = "ray"  # type: ignore[misc]


KEYS = [key for key, _ in leaves(dump(Config.model_validate({"spool": "/s"})))]
ODD = [
    [1], {"a": 1}, -1, 2.5, True, None, "", "x" * 500, [], {}, 10**30, [[]], "\0", {"webhook": 1}, [{"webhook": 1}],
    10**400, "9" * 400, "9" * 400 + "s", "9" * 400 + "GiB", 1e308, 1e-320,
]  # fmt: skip


@pytest.mark.parametrize(
    "key", [*KEYS, "inboxes.i.stems", "inboxes.i.options", "users.u.token_sha256", "quotas.q.memory"]
)
def test_any_value_anywhere_is_taken_or_a_fault_of_that_key(key: str) -> None:
    for value in ODD:
        try:
            loaded = load(flags={"spool": "/s", key: value}, environ={**HOME, "STEMD_SPOOL": "/s"})
            assert flow(dump(loaded.config))
        except StemdError as error:
            assert error.code == "STEMD-C002"
            assert all(key.partition(".")[0] in fault["key"] for fault in error.detail["faults"]), (value, error)
