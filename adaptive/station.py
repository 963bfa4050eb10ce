"""The station: the process between the brain and the Envoys. It stands where a worker does in the embedded gateway.

Down go the configuration and the Snapshots on the board, as xDS resources; up come the entries of the Envoys' access
logs, as outcomes in a ring. It decides nothing: a station that is killed is started again, and takes both up where the
last one left them, while every Envoy goes on with what it has.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from adaptive import clock
from adaptive.announcement import LIFETIME, READY, Announcement
from adaptive.config.model import Config
from adaptive.envoy import messages
from adaptive.envoy.attempts import Attempts
from adaptive.envoy.bootstrap import LOCAL
from adaptive.envoy.lines import Lines
from adaptive.envoy.patience import Patience
from adaptive.envoy.pipe import open_pipe
from adaptive.envoy.reader import Reader
from adaptive.envoy.server import Connected, Identity, Service
from adaptive.envoy.steering import Push, Steering
from adaptive.envoy.subscription import Answer
from adaptive.envoy.translate import resources as translate
from adaptive.envoy.translate.endpoints import assignment
from adaptive.gateway import parent
from adaptive.gateway.boot import Configuration, WorkerBoot
from adaptive.gateway.channel import Channel, Message, open_channel
from adaptive.telemetry.board import Board
from adaptive.telemetry.columns import Rows
from adaptive.telemetry.counters import ATTEMPTS, RETRIES, Counters, finished
from adaptive.telemetry.durations import Durations
from adaptive.telemetry.ring import Ring
from adaptive.telemetry.tally import finished_all
from adaptive.types import Mark, Snapshot

log = logging.getLogger(__name__)

LOOK = 0.005  # seconds between two looks at whether a new configuration is in force
# How often live counts go to the board: twice a tick of the brain. So often, too, the board is looked at unasked, for
# what had to wait and for a bell that nobody rang.
SHOW = 0.05
# Seconds from the first lines in the pipe until they are read: Envoy writes what it has gathered piece by piece, and
# many lines at once cost less than a few at a time.
GATHER = 0.005
AT_ONCE = 1 << 18  # bytes that are read from the pipe before anything else is looked at: some 1,700 lines, or 4 ms
TELL = 0.25  # seconds; how often the supervisor is told how it goes
# Seconds that a new configuration may take to be in force everywhere before it is confirmed all the same: who has not
# answered by then is slow, and will.
TAKEN = 3.0
OTHERS = 255  # the number of all Envoys that have none of their own: a row has a byte for it
_FINAL = int(Mark.FINAL)


class Station:
    """The shell. `socket` is the socket file of our service ("": the address of the configuration); `pipe` is
    the pipe of the Envoy that is started here ("": none is).
    """

    def __init__(self, boot: WorkerBoot, socket: str, pipe: str) -> None:
        self.boot, self.socket, self.pipe = boot, socket, pipe
        self.lines = Lines()
        self.board = Board.attach(boot.board_fd)
        self.ring = Ring.attach(boot.ring_fd)
        self.counters = Counters.attach(boot.counters_fd)
        self.row = self.counters.row(boot.index)
        self.attempts = Attempts(self._put, clock.wall() - clock.monotonic())
        self.attempts.announced = self._announced
        self.reader = Reader(self.attempts, self._put_all, self.ring.lose)
        self._announcements: dict[int, tuple[Announcement, float]] = {}
        self.service = Service(self._known, self._entries)
        self.service.answered = self._answered
        self.service.came = self._number
        self.service.lost = self._lost
        self.delays = Durations()  # from a decision to an Envoy's ACK
        self.configuration: Configuration | None = None
        self.steering: Steering | None = None
        self.channel: Channel | None = None
        self._texts: dict[str, str] = {}
        self._nodes: dict[str, int] = {}  # an Envoy's number in a row, by its name: as they came, for good
        self._decided: dict[str, tuple[str, float]] = {}  # cluster → (version of its endpoints, when decided)
        self._seen = -2  # version of the Snapshot looked at last
        self.patience = Patience()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lock = asyncio.Lock()

    # Life.

    async def run(self) -> int:
        """Serve until told otherwise."""
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        self.channel = await open_channel(self.boot.channel_fd, self._message, self._stop)
        if self.boot.bell_fd >= 0:
            loop.add_reader(self.boot.bell_fd, self._rung)
        for work in (self._show_on(), self._tell_on()):
            self._spawn(work)
        await self.over
        for task in self._tasks:
            task.cancel()
        await self.service.stop()
        return 0

    def _stop(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.over.done():
            self.over.set_exception(error)

    def _message(self, message: Message) -> None:
        kind = message["type"]
        if kind == "envoys":  # what the station before this one knew of them
            self._nodes = {name: number for number, name in enumerate(message["names"])}
            self.service.dropped.update(message["dropped"])
        elif kind == "configure":
            self._spawn(self._configure(Configuration.of(message)))
        elif kind == "drain":
            self._send({"type": "drained", "cut": 0})  # requests are not here
        elif kind == "stop":
            self._stop()

    def _send(self, message: Mapping[str, Any]) -> None:
        if self.channel is not None:
            self.channel.send(message)

    # Configuration.

    async def _configure(self, configuration: Configuration) -> None:
        async with self._lock:
            first = self.configuration is None
            try:
                self._take(configuration)
                if first:
                    await self._listen(configuration.config)
            except (OSError, ValueError, messages.Missing) as error:
                log.error("configuration %d cannot be put in force: %s", configuration.generation, error)
                self._send({"type": "failed", "generation": configuration.generation, "error": str(error)})
                return
            refused = "" if first else await self._taken()
            if refused:
                self._send({"type": "failed", "generation": configuration.generation, "error": refused})
                return
            if first:
                gc.collect()
                gc.freeze()
                self._send({"type": "ready"})
            self._send({"type": "configured", "generation": configuration.generation})

    def _take(self, configuration: Configuration) -> None:
        """Translate a configuration, all of it or nothing, and push what changed."""
        config = configuration.config
        now = clock.monotonic()
        texts = {path: Path(path).read_text(encoding="utf-8") for path in translate.files(config)}
        identity = Identity.of(config.envoy.service)
        found = translate.resources(config, texts, self.patience.seconds, self.pipe)
        steering = Steering(config, configuration.slots, configuration.generation)
        pushes = steering.first(self.board.read(), now, self.steering)
        made = {
            kind: {name: messages.parse(kind, data) for name, data in named.items()} for kind, named in found.items()
        }
        endpoints = {push.cluster: self._assignment(config, push) for push in pushes}
        self._texts, self.configuration, self.steering = texts, configuration, steering
        self.service.renew(identity)
        self.service.dismiss()
        self.attempts.configure(config, configuration.slots, steering)
        self.reader.plain.configure()
        self.service.take(translate.CLUSTER, made[translate.CLUSTER])
        self.service.take(translate.ENDPOINTS, endpoints)
        self.service.take(translate.LISTENER, made[translate.LISTENER])
        self.service.take(translate.ROUTES, made[translate.ROUTES])
        self.service.push()

    async def _listen(self, config: Config) -> None:
        own = config.envoy.service
        if self.socket:
            Path(self.socket).unlink(missing_ok=True)
            await self.service.start(f"unix:{self.socket}")
            self._listen_to_pipe()
        elif own is not None:
            await self.service.start(own.address)
        else:
            raise ValueError("envoy.service: Envoys elsewhere need an address at which they find us")

    async def _taken(self) -> str:
        """Wait until every Envoy has the configuration; why one refuses it, or nothing."""
        deadline = clock.monotonic() + TAKEN
        while clock.monotonic() < deadline:
            await asyncio.sleep(LOOK)
            refused = [f"Envoy {one.name}: {words}" for one in self.service.connected for words in one.refused.values()]
            if refused:
                return "; ".join(" ".join(words.split()) for words in refused)
            if not any(one.stream.behind(self.service.cache) for one in self.service.connected):
                break
        return ""

    def _known(self, node: str) -> bool:
        allowed = self.configuration.config.envoy.nodes if self.configuration is not None else ()
        return bool(node) and (not allowed or node in allowed or bool(self.socket))

    # Down: Snapshots.

    def _rung(self) -> None:
        """The brain has put up another Snapshot."""
        try:
            os.eventfd_read(self.boot.bell_fd)
        except BlockingIOError:
            return
        self._look()

    def _look(self) -> None:
        """Steer by the Snapshot on the board, where it is another, or a push of the last one had to wait."""
        steering = self.steering
        if steering is None:
            return
        version = self.board.version()
        if version != self._seen or steering.late:
            snapshot = self.board.read()
            if snapshot is not None:
                self._seen = version
                self._steer(snapshot, steering, clock.monotonic())

    def _steer(self, snapshot: Snapshot, steering: Steering, now: float) -> None:
        assert self.configuration is not None
        config = self.configuration.config
        pushes = steering.due(snapshot, now)
        if pushes:
            found = {push.cluster: self._assignment(config, push) for push in pushes}
            self.service.take(translate.ENDPOINTS, found, whole=False)
            held = self.service.cache.held[translate.ENDPOINTS]
            self._decided.update({push.cluster: (held[push.cluster].version, push.decided_at) for push in pushes})
            self.service.push()
        if snapshot.generation == steering.generation and self.patience.follow(config, snapshot, now):
            self._be_patient(config)

    def _assignment(self, config: Config, push: Push) -> Any:
        own = config.clusters[push.cluster]
        return messages.parse(translate.ENDPOINTS, assignment(push.cluster, own, push.lines, config.server.zone))

    def _be_patient(self, config: Config) -> None:
        """Give routes the patience that their clusters' typical latencies ask for."""
        found = translate.resources(config, self._texts, self.patience.seconds, self.pipe)
        self.service.put(translate.ROUTES, found[translate.ROUTES])
        self.service.push()

    def _answered(self, one: Connected, answer: Answer, sent_at: float) -> None:
        if answer.kind == translate.ENDPOINTS and answer.error is None:
            now = clock.monotonic()
            held = self.service.cache.held[translate.ENDPOINTS]
            for name in answer.names:
                decided = self._decided.get(name)
                if decided is not None and name in held and held[name].version == decided[0]:
                    self.delays.add(now - decided[1])
                    self._decided.pop(name)

    # Up: outcomes.

    def _entries(self, node: str, told: Sequence[str]) -> None:
        self.reader.take("\n".join([*told, ""]), self._number(node), clock.monotonic())

    def _number(self, node: str) -> int:
        """An Envoy's number in a row. Who records learns its name before there is any."""
        number = self._nodes.get(node)
        if number is None:
            number = len(self._nodes)
            if number >= OTHERS:
                return OTHERS
            self._nodes[node] = number
            self._tell_envoys()
        return number

    def _lost(self, count: int) -> None:
        """Entries that an Envoy has dropped."""
        self.ring.lose(count)
        self._tell_envoys()

    def _tell_envoys(self) -> None:
        """Tell what the brain names them by, and what the next station must know."""
        self._send({"type": "envoys", "names": list(self._nodes), "dropped": self.service.dropped})

    def _listen_to_pipe(self) -> None:
        self._wait_for_lines(open_pipe(self.pipe))

    def _wait_for_lines(self, fd: int) -> None:
        """Read the pipe a moment after something is in it."""
        loop = asyncio.get_running_loop()

        def came() -> None:
            loop.remove_reader(fd)
            loop.call_later(GATHER, gathered)

        def gathered() -> None:
            self._read_lines(fd)
            loop.add_reader(fd, came)

        loop.add_reader(fd, came)

    def _read_lines(self, fd: int) -> None:
        """What the Envoy that is started here tells."""
        try:
            data = os.read(fd, AT_ONCE)
        except BlockingIOError:
            return
        if self.steering is None:
            return
        self.reader.take(self.lines.cut(data), self._number(LOCAL), clock.monotonic())

    def _announced(self, slot: int, said: Announcement) -> None:
        """What an endpoint says of itself goes to the brain; the same again only when it is soon to lapse."""
        now = clock.monotonic()
        before, at = self._announcements.get(slot, (READY, now))
        if said != before or now - at > LIFETIME / 3:
            self._announcements[slot] = said, now
            self._send({"type": "announced", "slot": slot, "share": said.share, "most": said.most})

    def _put(self, *fields: Any) -> bool:
        """A row into the ring, and what the counters count of it."""
        row = self.row
        row[ATTEMPTS] += 1
        if fields[16] > 1:
            row[RETRIES] += 1
        if fields[18] & _FINAL:
            finished(row, self.counters.block(fields[14]), fields[15], max(0.0, fields[2] - fields[0]))
        return self.ring.put(*fields)

    def _put_all(self, rows: Rows) -> None:
        """Rows of requests with one attempt each into the ring, and what the counters count of them."""
        self.row[ATTEMPTS] += len(rows)
        finished_all(self.row, self.counters.routes, rows)
        self.ring.put_all(rows)

    # Showing.

    async def _show_on(self) -> None:
        due = clock.monotonic() + SHOW
        while True:
            await asyncio.sleep(SHOW)
            now = clock.monotonic()
            self.board.beat(self.boot.index, now, max(0.0, now - due))
            due = now + SHOW
            self._look()
            self.service.sweep(now)
            self.attempts.set_clock(clock.wall() - now)
            self.attempts.settle(now)
            counts, oldest = self.attempts.live(now)
            row, ages = self.board.live_row(self.boot.index), self.board.oldest_row(self.boot.index)
            for slot, count in counts.items():
                row[slot] = count
                ages[slot] = oldest.get(slot, 0.0)

    async def _tell_on(self) -> None:
        while True:
            await asyncio.sleep(TELL)
            self._send({"type": "elsewhere", **self.report()})

    def report(self) -> dict[str, Any]:
        """How it goes, for the admin API and the metrics."""
        return {
            "nodes": self.service.nodes(),
            "acks": self.service.acks,
            "nacks": self.service.nacks,
            "strangers": self.service.refusals,
            "entries": self.attempts.count,
            "entries_twice": self.attempts.twice,
            "entries_broken": self.reader.broken,
            "entries_unknown": self.attempts.unknown,
            "entries_early": self.attempts.early,
            "ack": self.delays.report(),
        }


def run(boot: WorkerBoot, socket: str, pipe: str) -> int:
    """Run the station until it is told to stop; returns its exit code."""
    parent.follow(boot.parent)
    parent.leave_signals_to_the_supervisor()
    return uvloop.run(Station(boot, socket, pipe).run())
