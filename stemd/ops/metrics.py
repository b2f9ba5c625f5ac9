"""The daemon's Prometheus metrics, one row each: base units, closed label sets, never a user's or file's name.

A new metric is a row here, and a row in docs/observability.md, which the tests compare with this table.
"""

from __future__ import annotations

import platform
import time

from prometheus_client.exposition import generate_latest

from stemd import __version__
from stemd.core import policy
from stemd.core.alerting import SEVERITIES
from stemd.core.autoscale import Direction, Reason
from stemd.core.errors import ErrorClass
from stemd.core.job import JobState, Outcome
from stemd.core.limits import Action, Limit
from stemd.ops.families import ENGINES, ENGINES_AND_NONE, OPEN, Families, counter, gauge, histogram
from stemd.spool.audit import INVARIANTS
from stemd.spool.holdings import AREAS
from stemd.spool.ignore import Ignored
from stemd.spool.recover import Found

#: Why a name in an inbox is left alone, and what comes of a hand-over.
IGNORED = tuple(reason.value for reason in Ignored)
HANDED = ("taken", "not_taken", "given_up")
_JOB_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
_STAGE_SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
_FSYNC_SECONDS = (0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 30)
_SCAN_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)
_PEAK_BYTES = tuple(64 << 20 << step for step in range(11))
_CLASSES = tuple(each.value for each in ErrorClass)
_LIVE = tuple(state.value for state in JobState if not state.ended)
_OUTCOMES = tuple(outcome.value for outcome in Outcome)
_FOUND = tuple(found.value for found in Found)
_WORKER_STATES = ("starting", "idle", "busy", "stopping")
_INVARIANTS = tuple(INVARIANTS)


class Metrics(Families):
    """All series of one daemon."""

    # ---- the daemon
    _build = gauge("build_info", "Version of stemd and of Python.", {"version": OPEN, "python": OPEN})
    _started = gauge("start_timestamp_seconds", "When the daemon started.")
    ready = gauge("ready", "1 once recovery is over and the daemon takes jobs.")
    reload_ok = gauge("config_last_reload_successful", "1 if the last (re)load of the configuration worked.")

    # ---- the inbox
    inbox_files = gauge(
        "inbox_files",
        "Entries in the inbox that wait to be complete, are kept back, or are refused.",
        {"state": ("settling", "kept", "refused")},
    )
    watch_mode = gauge("watch_mode", "1 for the way an inbox is watched.", {"inbox": OPEN, "mode": OPEN})
    oldest_file = gauge(
        "inbox_oldest_file_timestamp_seconds",
        "Since when the oldest entry waits in an inbox that is not refused; 0 where none does.",
    )
    ignored_files = counter(
        "inbox_ignored_files_total", "Names seen in the inboxes that are left alone on purpose.", {"reason": IGNORED}
    )
    overflows = counter("watch_overflows_total", "How often the kernel dropped events of the inboxes.")
    scan_seconds = histogram("scan_duration_seconds", "Time of one look at all inboxes.", buckets=_SCAN_SECONDS)
    scan_success = gauge(
        "scan_last_success_timestamp_seconds",
        "When the last look at all inboxes ended, or was left out on purpose (an erasure).",
    )
    claims = counter(
        "claims_total", "Claims of complete entries.", {"result": ("claimed", "lost", "refused", "duplicate")}
    )
    admission_paused = gauge(
        "admission_paused",
        "1 while complete entries stay in an inbox.",
        {"reason": ("room", "backlog", "quota", "drain")},
    )
    quota_rejections = counter(
        "quota_rejections_total",
        "Jobs and entries that a user's quota newly stopped, deferred or refused.",
        {"quota": tuple(policy.REMEDIES)},
    )

    # ---- jobs
    jobs = gauge("jobs", "Unfinished jobs by state.", {"state": _LIVE})
    completed = counter("jobs_completed_total", "Jobs that ended.", {"engine": ENGINES_AND_NONE, "outcome": _OUTCOMES})
    attempts = counter("attempts_total", "Ends of engine runs.", {"engine": ENGINES, "outcome": ("done", *_CLASSES)})
    retries = counter("retries_scheduled_total", "Retries by class.", {"class": _CLASSES})
    wait = histogram(
        "job_wait_seconds", "From claim (or put back, or let go on) to the first start after it.", buckets=_JOB_SECONDS
    )
    end_to_end = histogram(
        "job_end_to_end_seconds", "From claim (or put back, or let go on) to end.", buckets=_JOB_SECONDS
    )
    audio = counter("audio_processed_seconds_total", "Audio of finished jobs.", {"engine": ENGINES})
    realtime = gauge("realtime_factor", "Audio seconds per wall second of the last finished job.", {"engine": ENGINES})
    stage_seconds = histogram(
        "stage_duration_seconds",
        "Time of each stage of finished jobs.",
        {"engine": OPEN, "stage": OPEN},
        buckets=_STAGE_SECONDS,
    )
    chunks = counter("chunks_total", "Checkpoints that jobs reached.", {"engine": ENGINES})
    chunk_resumes = counter(
        "chunk_resumes_total", "Runs that went on from an earlier run's checkpoints.", {"engine": ENGINES}
    )
    orphan_jobs = gauge("orphan_jobs", "Failed jobs that lie in orphan/ now.", {"class": _CLASSES})
    orphans = counter("orphaned_jobs_total", "Jobs put into orphan/.", {"class": _CLASSES})
    recovered = counter("recovered_jobs_total", "Jobs found at start, by state.", {"found": _FOUND})

    # ---- what is told
    canary_at = gauge(
        "canary_last_success_timestamp_seconds",
        "When the canary last came through (later by what was drained since); 0: there is none.",
    )
    canary_every = gauge("canary_interval_seconds", "How often a canary is sent; 0: there is none.")
    alerts_firing = gauge("alerts_firing", "1 while an alert of stemd's own fires.", {"alert": tuple(SEVERITIES)})
    handoffs = counter("handoff_total", "Hand-overs, and tries of them.", {"result": HANDED})
    handoffs_pending = gauge("handoff_pending", "Hand-overs that not all receivers have taken yet.")
    handoff_oldest = gauge(
        "handoff_oldest_timestamp_seconds", "When the job ended whose hand-over waits for the longest; 0: none does."
    )

    # ---- workers
    workers = gauge("workers", "Worker processes.", {"engine": ENGINES, "state": _WORKER_STATES})
    workers_desired = gauge("workers_desired", "Worker processes there should be.", {"engine": ENGINES})
    autoscale_decisions = counter(
        "autoscale_decisions_total",
        "Changes of the number of workers there should be.",
        {"engine": ENGINES, "direction": tuple(Direction), "reason": tuple(Reason)},
    )
    worker_exits = counter("worker_exits_total", "Ends of worker processes.", {"reason": ("stopped", "died", "killed")})

    # ---- limits
    limits_hit = counter(
        "limits_hit_total",
        "Runs that met a limit, once for each.",
        {
            "engine": ENGINES,
            "limit": tuple(each.value for each in Limit),
            "action": tuple(each.value for each in Action),
        },
    )
    ooms = counter("oom_total", "Runs that ran out of memory.", {"engine": ENGINES})
    job_cpu = histogram("job_cpu_seconds", "CPU time of one run.", {"engine": ENGINES}, buckets=_JOB_SECONDS)
    job_peak = histogram("job_peak_rss_bytes", "Peak memory of one run.", {"engine": ENGINES}, buckets=_PEAK_BYTES)

    # ---- engines
    engine_up = gauge("engine_up", "1 if all is there that the engine needs to start.", {"engine": OPEN})
    model_present = gauge(
        "model_present", "1 if the model's weights are in the store.", {"engine": OPEN, "model": OPEN}
    )

    # ---- the spool
    free_bytes = gauge("filesystem_free_bytes", "Room on the file system of …; of several, the least.", {"role": OPEN})
    free_inodes = gauge(
        "filesystem_free_inodes", "Inodes free on the file system of …; of several, the fewest.", {"role": OPEN}
    )
    fsync_seconds = histogram("fsync_duration_seconds", "Time of each flush by the daemon.", buckets=_FSYNC_SECONDS)
    fsync_errors = counter("fsync_errors_total", "Flushes by the daemon that failed.")
    violations = counter("invariant_violations_total", "Promises found broken.", {"invariant": _INVARIANTS})
    broken = gauge("invariants_broken", "Places that break a promise, at the last look.", {"invariant": _INVARIANTS})
    audited = gauge("self_audit_last_success_timestamp_seconds", "When the last self-audit ended.")
    audit_every = gauge("self_audit_interval_seconds", "The time between two self-audits.")

    # ---- what is kept
    retention_deleted = counter("retention_deleted_total", "What retention has deleted.", {"area": AREAS})
    retention_overdue = gauge("retention_overdue_items", "What should have been deleted more than a day ago.")

    def __init__(self, engines: tuple[str, ...]) -> None:
        super().__init__(engines)
        self._build.labels(__version__, platform.python_version()).set(1)
        self._started.set(time.time())
        self.reload_ok.set(1)
        for missed_from_now in (self.scan_success, self.audited):
            missed_from_now.set_to_current_time()

    def render(self) -> bytes:
        """The exposition text (Prometheus text format 0.0.4, UTF-8)."""
        return generate_latest(self.registry)
