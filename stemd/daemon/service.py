"""The daemon as a process: start-up, recovery, the loop, signals, reload, and a clean end."""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from stemd import __version__
from stemd.core.access import Person, by_uid
from stemd.core.config import Config, Loaded
from stemd.core.errors import Exit, StemdError
from stemd.daemon import errand, placement
from stemd.daemon.aftermath import settle_statuses
from stemd.daemon.alerts import Alarm
from stemd.daemon.board import Board
from stemd.daemon.canary import Canary, with_canary
from stemd.daemon.chronicle import Chronicle
from stemd.daemon.control import ControlServer
from stemd.daemon.deleting import Deleting
from stemd.daemon.desk import Desk
from stemd.daemon.dispatcher import Dispatcher
from stemd.daemon.governor import Governor
from stemd.daemon.handoff import Handing
from stemd.daemon.lookout import Lookout
from stemd.daemon.notify import ServiceManager, handed_over
from stemd.daemon.picture import picture
from stemd.daemon.pool import Pool, WorkerState
from stemd.daemon.reloading import read_again
from stemd.daemon.runs import Runs
from stemd.daemon.scanner import Scanner, door_names
from stemd.daemon.selfaudit import SelfAudit
from stemd.daemon.steering import Steering
from stemd.daemon.stock import Stock
from stemd.daemon.stopping import Stopping
from stemd.daemon.surviving import bug, survives
from stemd.engines import base
from stemd.ops import logs, web
from stemd.ops.health import Health
from stemd.ops.metrics import Metrics
from stemd.ops.view import DaemonView
from stemd.spool import erase, flushes, halt, lease, moved, probes, recover
from stemd.spool.books import Books
from stemd.spool.layout import Spool
from stemd.spool.trail import Trail

_STATUS_INTERVAL = 5.0
#: Recovering one job may take so long: a whole result is hashed, on a slow disk (seconds).
_RECOVERY_STEP = 600.0
#: Time asked for at each turn while running jobs finish, so that a long drain needs no other unit (seconds).
_DRAIN_STEP = 30.0


class Service:
    """One running daemon. Everything but HTTP and hashing happens on the thread that calls ``run``."""

    def __init__(self, loaded: Loaded, reload: Callable[[], Loaded], *, once: bool) -> None:
        self._config: Config = loaded.config if once else with_canary(loaded.config)
        self._load_again, self._once = reload, once
        self._spools = tuple(Spool(root) for root in self._config.spool)
        self._selector = selectors.DefaultSelector()
        self._manager = ServiceManager()
        self._metrics = Metrics(tuple(sorted({*self._config.engines, *base.names()})))
        self._stopping = Stopping()
        self._reload_wanted = False
        self._view = DaemonView(loop_at=time.monotonic())
        self._next_status = 0.0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)

    def run(self) -> int:
        """Serve until told to stop (or, with ``once``, until nothing is left to do); returns the exit status."""
        lease.ignore_lease_signal()
        with ExitStack() as stack:
            stack.callback(halt.withdraw)
            flushes.listen(self._flushed)
            stack.callback(flushes.listen, None)
            for spool in self._spools:
                probes.prepare(spool, door_names(self._config))
                stack.callback(os.close, probes.take_lock(spool))
                probes.check(spool)
            self._open_books()
            stack.callback(self._chronicle.catch_up)  # at the very end
            self._take_signals()  # before anybody can see the daemon and send one
            self._open_port(stack)
            scanners = [self._watch(spool, stack) for spool in self._spools]
            self._lookout = Lookout(scanners, self._metrics)
            dispatcher = self._build(scanners)
            stack.callback(dispatcher.sealer.close)
            stack.callback(dispatcher.quotas.close)
            stack.callback(dispatcher.prober.close)  # first: a seal may be waiting for it
            self._open_control(stack)
            stack.push(self._explain)
            self._hand_over(stack)
            self._raise_alarms(stack)
            self._recover()
            self._audit_itself(stack)
            self._take_stock(stack)
            stack.callback(halt.order)  # before all others: they wait for threads that may be at a large file
            self._loop()
        return errand.status(self._dispatcher, self._handing) if self._once else Exit.OK

    def _flushed(self, seconds: float, failed: bool) -> None:
        self._metrics.fsync_seconds.observe(seconds)
        if failed:
            self._metrics.fsync_errors.inc()

    def wake(self) -> None:
        """Make the loop turn now; safe from any thread and signal handler."""
        with suppress(BlockingIOError):  # a full pipe: it is awake already
            os.write(self._wake_write, b"\0")

    # ---- start

    def _open_books(self) -> None:
        """The audit trail; and what is to be gone is gone before anything is taken up."""
        for spool in self._spools:
            if (before := moved.follow(self._config.state_of(spool.root), spool)) is not None:
                logs.get().warning("spool_moved", spool=str(spool.root), before=str(before))
        self._books = Books.of(self._config)
        self._chronicle = Chronicle(Trail(self._books))
        self._chronicle.tell("started", version=__version__)
        self._chronicle.configured(self._config)
        for spool in self._spools:
            for error in erase.sweep(spool, self._books):
                logs.get().error("not_deleted", code=error.code, errno=error.detail.get("errno"))
        receipts, failed = erase.resume(self._config, self._books, self._chronicle.trail)
        for error in failed:  # the order stands, and is tried again
            logs.get().error("erasure_failed", code=error.code, errno=error.detail.get("errno"), **bug(error))
        for receipt in receipts:
            logs.get().info("erasure_resumed", order=receipt["order"], verified=receipt["verified"])

    def _build(self, scanners: list[Scanner]) -> Dispatcher:
        board = Board(self._config, self._metrics)
        governor = Governor(self._config.governor.cgroups, lambda engine: placement.limits_of(board.config, engine))
        runs = Runs(board, governor)
        runs.pool = Pool(self._selector, runs, governor)
        self._dispatcher = Dispatcher(board, scanners, runs.pool, runs, self.wake)
        self._dispatcher.scaling.keeps = not self._once
        return self._dispatcher

    def _watch(self, spool: Spool, stack: ExitStack) -> Scanner:
        scanner = Scanner(spool, self._config, self.wake)
        stack.callback(scanner.stop)
        scanner.watcher.insist()
        descriptor = scanner.watcher.fileno()
        if descriptor is not None:
            self._selector.register(descriptor, selectors.EVENT_READ, scanner.watcher.read)
        return scanner

    def _open_port(self, stack: ExitStack) -> None:
        listen = self._config.http.listen
        listening = handed_over()
        if self._once or not (listening or listen):
            return
        listening = listening or [web.bind(str(listen))]
        health = Health(self._config, self._spools, self._config.paths.models)
        addresses = [web.address(each) for each in listening]
        local = self._config.http.tokens == "auto" and all(map(web.is_loopback, addresses))
        site = web.Site(
            lambda: self._view,
            lambda: self._config,
            health,
            self._metrics,
            local=local,
            heard=self._chronicle.heard,
            refused=self._chronicle.turned_away,
        )
        port = web.Port(web.application(site), *listening)
        port.start()
        stack.callback(port.stop)
        for address in addresses:
            logs.get().info("http_listening", address=address)

    def _open_control(self, stack: ExitStack) -> None:
        steering = Steering(
            self._dispatcher,
            self._reload,
            lambda: picture(self._dispatcher, self._alarm).to_dict(),
            stopping=lambda: self._stopping.ordered,
            may_return=partial(erase.refuse_return, self._books),
        )
        deleting = Deleting(self._dispatcher, self._chronicle, self._books, steering.stop, self.wake)
        stack.callback(deleting.close)
        self._dispatcher.upkeep = deleting.tick
        self._dispatcher.board.tell = self._chronicle.job
        desk, own = Desk(steering.answer, deleting, self._chronicle), os.getuid()

        def known(uid: int) -> Person:
            return by_uid(self._config, uid, own)  # by the configuration of now: a reload may name others

        self._control = ControlServer(self._config, self._selector, desk.answer, partial(desk.who, known))
        stack.callback(self._control.close)

    def _audit_itself(self, stack: ExitStack) -> None:
        if not self._once:
            board = self._dispatcher.board
            auditing = SelfAudit(self._spools, lambda: self._config, lambda: frozenset(list(board.jobs)), self._metrics)
            auditing.start()
            stack.callback(auditing.stop)

    def _hand_over(self, stack: ExitStack) -> None:
        """Before recovery, which ends jobs too."""
        self._handing = Handing(self._spools, lambda: self._config, self._metrics)
        self._handing.prepare()
        self._dispatcher.board.on_end.append(lambda live, outcome: self._handing.wake())
        self._handing.start()
        stack.callback(self._handing.stop)

    def _raise_alarms(self, stack: ExitStack) -> None:
        self._stock = Stock(self._spools, lambda: self._config, self._metrics)
        self._canary = Canary(self._dispatcher.board, self._spools, self._metrics)
        self._alarm = Alarm(
            self._dispatcher.board,
            self._metrics,
            free=lambda: self._stock.free_share,
            canary_at=lambda: self._canary.at,
            draining=lambda: self._dispatcher.draining,
        )
        stack.callback(self._alarm.stop)

    def _take_stock(self, stack: ExitStack) -> None:
        if not self._once:
            self._stock.start()
            stack.callback(self._stock.stop)

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hangup)

    def _recover(self) -> None:
        def progress() -> None:
            self._manager.extend(_RECOVERY_STEP)
            self._view = DaemonView(loop_at=time.monotonic(), reason="recovering")

        for spool in self._spools:
            for found in recover.recover(spool, progress, self._dispatcher.board.folder):
                survives(self._dispatcher.takeover.recovered, spool, found)
            settle_statuses(spool, self._dispatcher.board.jobs)
        self._metrics.scan_success.set_to_current_time()  # what recovery took was no standstill
        self._metrics.ready.set(1)
        self._view = picture(self._dispatcher, self._alarm)  # who waited for the manager's word finds /health ready
        self._manager.ready()
        logs.get().info(
            "ready", version=__version__, pid=os.getpid(), spools=[str(spool.root) for spool in self._spools]
        )

    # ---- the loop

    def _loop(self) -> None:
        while not self._finished():
            if self._reload_wanted:
                self._reload_wanted = False
                with suppress(StemdError):  # logged and counted; the old configuration stays
                    self._reload()
            self._lookout.look(time.monotonic())
            pause = self._dispatcher.tick()
            if not self._once:
                (self._canary.rest if self._dispatcher.draining else self._canary.fly)(time.monotonic())
            self._control.trim(time.monotonic())
            self._alarm.look(time.monotonic())
            self._view = picture(self._dispatcher, self._alarm)
            self._tell_manager()
            now = time.monotonic()
            told = self._chronicle.tick(now, idle=not self._dispatcher.board.jobs)
            self._dispatcher.survives(self._hear, max(0.0, min(pause, told - now)))
        self._end()

    def _finished(self) -> bool:
        if self._stopping.ordered:
            return self._stopping.done(self._dispatcher)
        return self._once and errand.nothing_left(self._dispatcher, self._handing)

    def _hear(self, pause: float) -> None:
        """Wait for pipes, sockets and wake-ups, and serve them; one served may close another of the same batch."""
        for key, _ in self._selector.select(pause):
            if self._selector.get_map().get(key.fd) == key:
                key.data()

    def _explain(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Whatever went wrong: if a spool has vanished, that is why; its workers have nothing to write to any more.

        Raises:
            StemdError: STEMD-S020 instead of the error that followed from it.
        """
        if not isinstance(error, Exception):
            return
        try:
            self._lookout.spools()
        except StemdError as vanished:
            logs.get().critical("spool_vanished", code=vanished.code, reason=vanished.message, remedy=vanished.remedy)
            self._manager.stopping()
            for worker in self._dispatcher.pool.workers:
                self._dispatcher.pool.kill(worker, "spool vanished")
                with suppress(subprocess.TimeoutExpired):  # it hangs in the file system that has gone
                    worker.process.wait(timeout=5)
            raise vanished from (None if isinstance(error, StemdError) else error)

    def _end(self) -> None:
        self._manager.stopping()
        self._view = DaemonView(loop_at=time.monotonic(), reason="stopping")
        pool = self._dispatcher.pool
        for worker in list(pool.workers):
            if worker.state is WorkerState.IDLE:
                pool.stop(worker)
            else:
                pool.kill(worker, "stop")
        deadline = time.monotonic() + 5
        while pool.workers and time.monotonic() < deadline:
            self._hear(0.1)
        pool.cards.close()
        survives(self._dispatcher.board.write_statuses, math.inf)
        logs.get().info(
            "stopped", **{outcome.value: number for outcome, number in self._dispatcher.board.ended.items()}
        )

    # ---- signals and reload

    def _on_stop(self, number: int, _: Any) -> None:
        self._stopping.order(self._config.shutdown.drain)
        self.wake()

    def _on_hangup(self, number: int, _: Any) -> None:
        self._reload_wanted = True
        self.wake()

    def _reload(self) -> None:
        """Take over a changed configuration; one with faults, or an inbox that cannot be made, changes nothing.

        Raises:
            StemdError: STEMD-C001, STEMD-C002, STEMD-S020, why a spool is not ready for it, or STEMD-X001: a bug.
        """
        self._lookout.spools()  # inboxes that are missing are made, but not in the folder below a mount
        self._manager.reloading()
        try:
            config, fixed = read_again(self._config, self._load_again, self._spools)
        except StemdError as error:
            self._metrics.reload_ok.set(0)
            logs.get().error("reload_failed", code=error.code, reason=error.message, **bug(error))
            raise
        finally:
            self._manager.ready()
        if fixed:
            logs.get().warning("reload_needs_restart", keys=fixed)
        self._config = self._dispatcher.board.config = config
        logs.know(config.users)
        for scanner in self._dispatcher.scanners:
            scanner.configure(config)
        self._handing.prepare()
        self._metrics.reload_ok.set(1)
        self._chronicle.configured(config)
        logs.get().info("reloaded")

    # ---- what is shown

    def _tell_manager(self) -> None:
        """Once per turn. The watchdog hears of one that went through scanning, starting, and looking after what runs.

        The last turn's end was the reaping of workers' words.
        """
        if self._dispatcher.progressed:
            self._manager.alive()
        if self._stopping.ordered:
            self._manager.extend(_DRAIN_STEP)
        if self._view.loop_at >= self._next_status:
            self._next_status = self._view.loop_at + _STATUS_INTERVAL
            self._manager.status(self._view.sentence)

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)


def run(loaded: Loaded, reload: Callable[[], Loaded], *, once: bool = False) -> int:
    """Run the daemon in this process; ``reload`` reads the configuration again. Returns the exit status.

    Raises:
        StemdError: a start-up check failed.
    """
    log = loaded.config.log
    logs.configure(log.format, log.level, names=log.names, people=loaded.config.users)
    return Service(loaded, reload, once=once).run()
