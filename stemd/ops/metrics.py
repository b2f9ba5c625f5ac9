"""The daemon's Prometheus metrics: base units, closed label sets, never a user's or file's name."""

from __future__ import annotations

import platform
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from stemd import __version__
from stemd.core.errors import ErrorClass
from stemd.core.job import JobState, Outcome
from stemd.spool.audit import INVARIANTS

_JOB_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
_LIVE_STATES = tuple(state for state in JobState if not state.ended)


class Metrics:
    """All series of one daemon, in a registry of its own so that tests can have several."""

    def __init__(self, engines: tuple[str, ...]) -> None:
        self.registry = registry = CollectorRegistry()
        Gauge("stemd_build_info", "Version of stemd and of Python.", ["version", "python"], registry=registry).labels(
            __version__, platform.python_version()
        ).set(1)
        Gauge("stemd_start_timestamp_seconds", "When the daemon started.", registry=registry).set(time.time())
        self.ready = Gauge("stemd_ready", "1 once recovery is over and the daemon takes jobs.", registry=registry)
        self.reload_ok = Gauge(
            "stemd_config_last_reload_successful",
            "1 if the last (re)load of the configuration worked.",
            registry=registry,
        )
        self.reload_ok.set(1)
        self.inbox_files = Gauge(
            "stemd_inbox_files",
            "Entries in the inbox that wait to be complete, or are refused.",
            ["state"],
            registry=registry,
        )
        self.watch_mode = Gauge(
            "stemd_watch_mode", "1 for the way an inbox is watched.", ["inbox", "mode"], registry=registry
        )
        self.overflows = Counter(
            "stemd_watch_overflows_total", "How often the kernel dropped events of the inboxes.", registry=registry
        )
        self.scan_seconds = Histogram(
            "stemd_scan_duration_seconds",
            "Time of one look at all inboxes.",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
            registry=registry,
        )
        self.scan_success = Gauge(
            "stemd_scan_last_success_timestamp_seconds", "When the last look at all inboxes ended.", registry=registry
        )
        self.claims = Counter("stemd_claims_total", "Claims of complete entries.", ["result"], registry=registry)
        self.jobs = Gauge("stemd_jobs", "Unfinished jobs by state.", ["state"], registry=registry)
        self.completed = Counter(
            "stemd_jobs_completed_total", "Jobs that ended.", ["engine", "outcome"], registry=registry
        )
        self.attempts = Counter(
            "stemd_attempts_total", "Ends of engine runs.", ["engine", "outcome"], registry=registry
        )
        self.retries = Counter("stemd_retries_scheduled_total", "Retries by class.", ["class"], registry=registry)
        self.wait = Histogram(
            "stemd_job_wait_seconds", "From claim to first start.", buckets=_JOB_SECONDS, registry=registry
        )
        self.end_to_end = Histogram(
            "stemd_job_end_to_end_seconds", "From claim to end.", buckets=_JOB_SECONDS, registry=registry
        )
        self.audio = Counter(
            "stemd_audio_processed_seconds_total", "Audio of finished jobs.", ["engine"], registry=registry
        )
        self.realtime = Gauge(
            "stemd_realtime_factor",
            "Audio seconds per wall second of the last finished job.",
            ["engine"],
            registry=registry,
        )
        self.workers = Gauge("stemd_workers", "Worker processes.", ["engine", "state"], registry=registry)
        self.worker_exits = Counter(
            "stemd_worker_exits_total", "Ends of worker processes.", ["reason"], registry=registry
        )
        self.violations = Counter(
            "stemd_invariant_violations_total", "Promises found broken.", ["invariant"], registry=registry
        )
        self.broken = Gauge(
            "stemd_invariants_broken",
            "Places that break a promise, at the last look.",
            ["invariant"],
            registry=registry,
        )
        self.audited = Gauge(
            "stemd_self_audit_last_success_timestamp_seconds", "When the last self-audit ended.", registry=registry
        )
        self.admission_paused = Gauge(
            "stemd_admission_paused", "1 while complete entries stay in an inbox.", ["reason"], registry=registry
        )
        self.orphans = Counter("stemd_orphaned_jobs_total", "Jobs put into orphan/.", ["class"], registry=registry)
        self.recovered = Counter(
            "stemd_recovered_jobs_total", "Jobs found at start, by state.", ["found"], registry=registry
        )
        self._start_at_zero(engines)

    def _start_at_zero(self, engines: tuple[str, ...]) -> None:
        for state in _LIVE_STATES:
            self.jobs.labels(state.value)
        for error_class in ErrorClass:
            self.retries.labels(error_class.value)
            self.orphans.labels(error_class.value)
        for engine in engines:
            self.audio.labels(engine)
            for outcome in Outcome:
                self.completed.labels(engine, outcome.value)
        for result in ("claimed", "lost", "refused", "duplicate"):
            self.claims.labels(result)
        for invariant in INVARIANTS:
            self.violations.labels(invariant)
            self.broken.labels(invariant)
        for reason in ("room", "backlog"):
            self.admission_paused.labels(reason)
        for reason in ("stopped", "died", "killed"):
            self.worker_exits.labels(reason)

    def render(self) -> bytes:
        """The exposition text (Prometheus text format 0.0.4, UTF-8)."""
        return generate_latest(self.registry)
