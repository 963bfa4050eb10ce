"""One request through the gateway.

An Exchange lives from the request's head to the last byte of its response, or to whatever ends it earlier. It makes
one Attempt at a time. Nothing of a response has reached the client while an attempt may still be repeated.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from adaptive import classify, clock
from adaptive.admission import ENTERS, WAITS
from adaptive.gateway import lines, patience
from adaptive.gateway.access import log_exchange
from adaptive.gateway.attempt import Attempt
from adaptive.gateway.chunks import LAST_CHUNK, chunk, last_chunk
from adaptive.gateway.head import CHUNKED, IDEMPOTENT, RequestHead
from adaptive.gateway.problem import DETAILS, problem
from adaptive.gateway.reply import ReplyHead
from adaptive.telemetry import counters
from adaptive.types import Cause, Mark

if TYPE_CHECKING:
    from adaptive.gateway.client import ClientConnection
    from adaptive.gateway.cluster import ClusterRuntime
    from adaptive.gateway.router import Route

_RESPONSE, _CANCELLED = int(Cause.RESPONSE), int(Cause.CANCELLED)
_FINAL, _REPEATABLE, _EXPLORED = int(Mark.FINAL), int(Mark.REPEATABLE), int(Mark.EXPLORED)
_HEDGE = int(Mark.HEDGE)
# A pooled connection that has been idle for longer may be closed by the endpoint at any moment (5 s is a common default
# of servers); a request that cannot be sent twice does not risk it.
FRESH_ENOUGH = 2.0

monotonic = clock.monotonic


class Exchange:
    """One request and its response."""

    __slots__ = (
        "answered", "attempt", "attempts", "block", "body_done", "body_ended", "bytes_down", "bytes_up", "client",
        "cluster", "deadline", "done", "ended", "flag", "framed", "free", "fresh", "hedge", "keep", "kept",
        "kept_bytes", "method", "number", "plane", "queue", "rechunk", "repeatable", "replayable", "request_id",
        "responded", "route", "route_index", "started", "status", "target", "timeout", "tried", "tunnelled",
    )  # fmt: skip

    route: Route

    def __init__(self, client: ClientConnection, head: RequestHead, now: float) -> None:
        plane = client.plane
        self.client = client
        self.plane = plane
        self.method, self.target, block = head
        self.block = block
        self.started = now
        self.number = plane.next_number()
        self.request_id = (client.trusted and block.request_id) or plane.request_id(self.number)
        # None until `begin` has found the route and its cluster has room, and attempts are made only after that.
        self.cluster: ClusterRuntime = cast("ClusterRuntime", None)
        self.attempt: Attempt | None = None
        self.hedge: Attempt | None = None  # the one beside it
        self.attempts = self.free = 0
        self.tried: tuple[int, ...] = ()
        self.fresh = False
        self.body_done = block.length == 0
        self.kept: list[bytes] = []  # the body as it goes out, while it may have to go out again
        self.kept_bytes = self.bytes_up = self.bytes_down = 0
        self.framed = block.length == CHUNKED
        self.repeatable = self.method in IDEMPOTENT
        self.replayable = True
        self.responded = self.rechunk = self.done = self.tunnelled = False
        self.keep = not block.close
        self.route_index = 0xFFFF
        self.status = 0
        self.flag = "-"
        self.deadline = self.timeout = math.inf  # when it must be answered, and how long after its end
        self.answered = 0.0
        self.body_ended = now
        self.ended: set[bool]  # of a tunnel: which sides will send no more
        self.queue: ClusterRuntime | None = None  # where it waits for its turn

    # From the client.

    def begin(self, now: float) -> None:
        """Finds the route and makes the first attempt."""
        plane = self.plane
        route = plane.match(self)
        if route is None:
            self.refuse(404, "no route matches this request", "NR", counters.REJECT_NO_ROUTE)
            return
        self.route = route
        self.route_index = route.index
        cluster = plane.clusters[route.cluster] if not route.share else plane.drawn(route)
        self.timeout = patience.allowed(self) if plane.deadline_header else route.timeout
        if self.body_done:
            self.deadline = now + self.timeout
        admission = cluster.admission
        entrance = admission.enter(now, self, self.client.peer, route.rank, self.timeout)
        if entrance == ENTERS:
            self.cluster = cluster
            cluster.budget.deposit()
            cluster.hedges.deposit()
            self.try_once(now)
        elif entrance == WAITS:
            self.queue = cluster
            if admission.turned_away:
                cluster.go_on(now)
        elif admission.held:
            self.shed()
        else:
            self.refuse(503, "too many requests are in flight for this cluster", "UO", counters.OVERFLOW)

    def enter(self, now: float) -> None:
        """Its turn has come, after it had to wait."""
        assert self.queue is not None
        self.cluster, self.queue = self.queue, None
        self.cluster.budget.deposit()
        self.cluster.hedges.deposit()
        self.try_once(now)

    def shed(self) -> None:
        """Refused, for its cluster has more to do than it can."""
        self.queue = None
        self.refuse(503, "this cluster is overloaded", "UO", counters.SHED)

    def body(self, data: bytes) -> None:
        """A piece of the request's body, without its framing."""
        self.bytes_up += len(data)
        if self.framed:
            data = chunk(data)
        attempt = self.attempt
        if self.replayable:
            self.kept.append(data)
            self.kept_bytes += len(data)
            if self.kept_bytes > self.plane.buffer_bytes:
                if attempt is None or attempt.upstream is None:
                    self.client.hold()  # until there is a connection
                else:
                    self.replayable = False
                    self.kept.clear()
        if attempt is not None and attempt.upstream is not None:
            attempt.upstream.write(data)

    def body_end(self, trailers: list[tuple[bytes, bytes]], now: float) -> None:
        """The request's body is complete."""
        self.body_done = True
        self.body_ended = now
        self.deadline = now + self.timeout
        attempt = self.attempt
        if self.framed:
            data = last_chunk(trailers)
            if self.replayable:
                self.kept.append(data)
            if attempt is not None and attempt.upstream is not None:
                attempt.upstream.write(data)
        if attempt is not None and attempt.upstream is not None and not self.responded:
            attempt.deadline = 0.0

    def client_gone(self) -> None:
        """The client's connection is lost."""
        if self.done:
            return
        attempt = self.attempt
        if self.queue is not None:
            self.queue.admission.forget(self, self.client.peer, self.route.rank, monotonic() - self.started)
            self.queue = None
        if attempt is not None:
            if self.tunnelled:
                attempt.close(Cause.UPGRADED, 101, monotonic())
            else:
                attempt.reusable = False
                attempt.close(Cause.CLIENT_GONE, attempt.status, monotonic())
            if self.hedge is not None:
                self.hedge.reusable = False
                self.hedge.close(Cause.CLIENT_GONE, 0, monotonic())
        if not self.tunnelled:
            self.flag = "DC"
            self.status = 0
        self.finish(monotonic())

    def client_error(self, status: int, detail: str, counter: int) -> None:
        """The client's body broke a rule, or was late."""
        attempt = self.attempt
        if attempt is not None:
            attempt.reusable = False
            attempt.close(Cause.CLIENT_ERROR, 0, monotonic())
        if self.queue is not None:
            self.queue.admission.forget(self, self.client.peer, self.route.rank)
            self.queue = None
        if self.responded:
            self.client.cut()
            self.finish(monotonic())
        else:
            self.refuse(status, detail, "DPE" if status == 400 else "-", counter)

    # Attempts.

    def try_once(self, now: float, marks: int = 0) -> None:
        """Makes the next attempt; with `Mark.HEDGE`, one beside the present one."""
        cluster = self.cluster
        balancer = cluster.balancer
        lane = balancer.pick(now, self.repeatable, self.tried)
        if lane is None:
            if marks:
                return
            self.refuse(503, "no endpoint of this cluster can be used", "UH", counters.NO_ENDPOINT)
            return
        self.attempts += 1
        if balancer.explored:
            marks |= _EXPLORED
        attempt = Attempt(self, lane, now, balancer.propensity, marks | _REPEATABLE if self.repeatable else marks)
        if marks & _HEDGE:
            self.hedge = attempt
        else:
            self.attempt = attempt
        balancer.sent(lane, attempt, now)
        plane = self.plane
        plane.row[counters.ATTEMPTS] += 1
        pool = cluster.pools[lane.slot]
        upstream = None if self.fresh else pool.take()
        if upstream is not None and not self.repeatable and upstream.doubtful(now - FRESH_ENOUGH):
            upstream.abort()
            upstream = None
        if upstream is not None:
            attempt.connected(upstream)
        elif pool.full:
            attempt.failed(Cause.OVERFLOW)
        else:
            attempt.deadline = now + cluster.connect_timeout
            pool.connect(attempt)

    def send(self, attempt: Attempt) -> None:
        """Writes the request, as far as there is one, to the attempt's connection."""
        upstream = attempt.upstream
        assert upstream is not None
        head = lines.request_head(self)
        if self.kept:
            head += b"".join(self.kept)
        if self.repeatable:
            upstream.write(head)
        else:
            upstream.write_at_once(head)
        if self.kept:
            if self.kept_bytes > self.plane.buffer_bytes:
                self.replayable = False
                self.kept.clear()
            if self.client.held and not upstream.stuck_since:
                self.client.go_on()
        attempt.deadline = 0.0  # the next sweep works it out; most attempts are over before one comes

    def attempt_failed(self, attempt: Attempt, cause: Cause, now: float) -> None:
        """An attempt ended without a whole response: try again, or tell the client."""
        if self.done or self._other_goes_on(attempt):
            return
        if self.responded:
            self.flag = classify.flag(cause)
            self.client.cut()
            self.finish(now)
            return
        again = classify.may_retry(cause, 0, self.repeatable)
        if again and patience.may_go_again(self, attempt.lane.slot, cause, now):
            self.try_once(now)
        else:
            flag = self.flag if self.flag != "-" else classify.flag(cause)
            self.refuse(classify.answer(cause), DETAILS.get(cause, "the endpoint failed"), flag, None)

    def _other_goes_on(self, attempt: Attempt) -> bool:
        """One of two attempts came to nothing: whether the other is still under way, which is the only one now."""
        hedge = self.hedge
        if hedge is None:
            return False
        other = self.attempt if attempt is hedge else hedge
        self.attempt, self.hedge = other, None
        return other is not None and other.open

    def _won(self, attempt: Attempt, now: float) -> None:
        """One of two attempts is answered: the other is cancelled at once, and its connection with it."""
        other = self.attempt if attempt is self.hedge else self.hedge
        self.attempt, self.hedge = attempt, None
        if other is not None and other.open:
            other.reusable = False
            other.close(_CANCELLED, 0, now)

    # From the endpoint.

    def reply(self, attempt: Attempt, reply: ReplyHead, data: bytes, now: float, whole: bool) -> bool:
        """A response's head has come, and with `whole` all of its body. False: it goes no further."""
        status = reply.status
        attempt.load_cpu, attempt.load_app = reply.load_cpu, reply.load_app
        if reply.announced is not None:
            self.plane.announce(attempt.lane.slot, reply.announced, now)
        attempt.bytes_down = len(data)
        route = self.route
        if not self.body_done or reply.close:
            attempt.reusable = False
        again = status >= 500 and self.repeatable and status in route.retry_statuses
        if self.hedge is not None:
            if again and self._other_goes_on(attempt):
                attempt.reusable = attempt.reusable and whole
                attempt.close(_RESPONSE, status, now)
                return False
            self._won(attempt, now)
        if again and patience.may_go_again(self, attempt.lane.slot, _RESPONSE, now):
            attempt.reusable = attempt.reusable and whole
            attempt.close(_RESPONSE, status, now)
            self.try_once(now)
            return False
        attempt.status = self.status = status
        attempt.marks |= _FINAL
        self.responded = True
        self.answered = now
        client = self.client
        if not self.body_done or self.plane.draining:
            self.keep = False
        self.bytes_down = len(data)
        client.write(lines.reply_head(self, reply) + data)
        if whole:
            attempt.close(_RESPONSE, status, now)
            self.finish(now)
            return False
        attempt.deadline = now + self.plane.body_timeout
        if client.stuck_since and attempt.upstream is not None:
            attempt.upstream.hold()
        return True

    def reply_body(self, attempt: Attempt, data: bytes) -> None:
        """A piece of the response's body, without its framing."""
        attempt.bytes_down += len(data)
        self.bytes_down += len(data)
        self.client.write(chunk(data) if self.rechunk else data)

    def reply_end(self, attempt: Attempt, data: bytes, trailers: list[tuple[bytes, bytes]]) -> None:
        """The response is complete; `data` is its last piece."""
        if data:
            self.reply_body(attempt, data)
        if self.rechunk:
            self.client.write(last_chunk(trailers) if trailers else LAST_CHUNK)
        now = monotonic()
        if not self.body_done:
            attempt.reusable = False
        attempt.close(_RESPONSE, attempt.status, now)
        self.finish(now)

    def interim(self, reply: ReplyHead) -> None:
        """A 1xx response: 100 was ours to send, the others go on to clients that can know them."""
        if reply.status != 100 and self.block.minor == 1 and not self.responded:
            self.client.write(b"HTTP/1.1 %d%b\r\n%b\r\n" % (reply.status, reply.reason, reply.lines))

    # The end.

    def refuse(self, status: int, detail: str, flag: str, counter: int | None) -> None:
        """The gateway answers itself."""
        if counter is not None:
            self.plane.row[counter] += 1
        self.status, self.flag = status, flag
        if not self.body_done or self.plane.draining:
            self.keep = False
        answer = problem(status, detail, self.request_id, close=not self.keep, bodiless=self.method == b"HEAD")
        self.responded = True
        self.client.write(answer)
        self.finish(monotonic())

    def finish(self, now: float) -> None:
        """Everything has been said."""
        if self.done:
            return
        self.done = True
        plane = self.plane
        cluster = self.cluster
        if cluster is not None:
            # What an answer's body takes is the client's pace, and a tunnel's length says nothing.
            answered = 200 <= self.status < 500 and not self.tunnelled
            cluster.admission.left(now, (self.answered or now) - self.started, answered, not self.status)
            if cluster.admission.waiting:
                cluster.go_on(now)
        counters.finished(
            plane.row, plane.blocks.get(self.route_index, plane.no_block), self.status, now - self.started
        )
        if plane.access_log is not None:
            log_exchange(plane.access_log, self, now)
        self.kept.clear()
        self.client.exchange_done(self, now)
        if self.hedge is not None:  # whatever ended the request, nobody waits for the copy
            self.hedge.reusable = False
            self.hedge.close(_CANCELLED, 0, now)
        self.attempt = self.hedge = None
