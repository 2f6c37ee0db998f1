"""Sessions on their way from one replica of the service to another: kept for a moment, and given out once.

A client that comes back is let in by whichever replica a balancer chooses. That one asks here for the session, and
where it does not lie here, the replica that has it is asked to leave it here. What is kept are bytes, which nobody
looks into (handover.py). The vault belongs to one event loop; ray_serve.py makes an actor of it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

# A replica hears within so many seconds what is wanted of it, and asks again.
POLL_S = 5.0
# One that has not asked for so long is gone.
_KNOWN_S = 3 * POLL_S
# How long a session is waited for: a replica that died does not answer.
_ANSWERED_WITHIN_S = 3.0

# In place of a parcel: some replica has the session and cannot let it go.
STAYS = b""


@dataclass(frozen=True, slots=True)
class _Parcel:
    data: bytes
    put_at: float


@dataclass(slots=True)
class _Replica:
    """One that asks which of its sessions are wanted elsewhere."""

    asked_at: float
    wanted: set[str] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Question:
    """Who has a session? Answered once it lies here, or stays where it is, or nobody has it.

    Attributes:
        unheard: replicas that have not said that it is not with them.
        stays: whether it does; known once that is known.
    """

    unheard: set[str]
    stays: asyncio.Future[bool]

    def answer(self, *, stays: bool) -> None:
        if not self.stays.done():
            self.stays.set_result(stays)


class Vault:
    """Parcels, by the token that a client comes back with.

    Args:
        good_for_s: older ones are thrown away: their clients have given up.
        most_parcels, most_bytes: where there are more, the oldest are thrown away.
        clock: seconds.
    """

    def __init__(
        self,
        good_for_s: float,
        most_parcels: int = 10_000,
        most_bytes: int = 4 * 1024**3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._good_for_s = good_for_s
        self._most_parcels, self._most_bytes = most_parcels, most_bytes
        self._clock = clock
        self._parcels: OrderedDict[str, _Parcel] = OrderedDict()
        self._bytes = 0
        self._replicas: dict[str, _Replica] = {}
        self._questions: dict[str, _Question] = {}

    async def put(self, token: str, data: bytes) -> None:
        """Keeps a parcel; who waits for it has it at once."""
        self._remove(token)
        self._parcels[token] = _Parcel(data, self._clock())
        self._bytes += len(data)
        self._tidy()
        if question := self._questions.get(token):
            question.answer(stays=False)

    async def take(self, token: str, taker: str) -> bytes | None:
        """A parcel, which is gone from here then; None where nobody has the session, `STAYS` where it cannot go.

        Args:
            taker: the replica that wants it, and has it not.
        """
        self._tidy()
        if token not in self._parcels and await self._stays_elsewhere(token, taker):
            return STAYS
        return self._remove(token)

    async def wanted(self, replica: str, answers: Mapping[str, bool]) -> list[str]:
        """Which of a replica's sessions are wanted elsewhere; waits for one, and no longer than `POLL_S`.

        It puts here those that can go, and tells of the others when it asks again.

        Args:
            answers: to what it heard before, by token: whether the session stays with it, or is not there at all.
        """
        for token, stays in answers.items():
            self._tell(replica, token, stays=stays)
        known = self._replicas.setdefault(replica, _Replica(self._clock()))
        known.asked_at = self._clock()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await known.news.wait()
        known.asked_at = self._clock()
        wanted, known.wanted = known.wanted, set()
        known.news.clear()
        return list(wanted)

    async def _stays_elsewhere(self, token: str, taker: str) -> bool:
        """Has the session put here by who has it."""
        question = self._questions.get(token)
        if question is None:
            question = _Question(self._others(taker), asyncio.get_running_loop().create_future())
            self._questions[token] = question
            for name in question.unheard:
                self._replicas[name].wanted.add(token)
                self._replicas[name].news.set()
        if not question.unheard:
            question.answer(stays=False)
        try:
            async with asyncio.timeout(_ANSWERED_WITHIN_S):
                return await asyncio.shield(question.stays)
        except TimeoutError:
            return False
        finally:
            self._questions.pop(token, None)

    def _tell(self, replica: str, token: str, *, stays: bool) -> None:
        if question := self._questions.get(token):
            question.unheard.discard(replica)
            if stays or not question.unheard:
                question.answer(stays=stays)

    def _others(self, taker: str) -> set[str]:
        since = self._clock() - _KNOWN_S
        self._replicas = {name: known for name, known in self._replicas.items() if known.asked_at >= since}
        return self._replicas.keys() - {taker}

    def _tidy(self) -> None:
        since = self._clock() - self._good_for_s
        while self._parcels:
            token, oldest = next(iter(self._parcels.items()))
            crowded = len(self._parcels) > self._most_parcels or self._bytes > self._most_bytes
            if oldest.put_at >= since and not crowded:
                return
            self._remove(token)

    def _remove(self, token: str) -> bytes | None:
        parcel = self._parcels.pop(token, None)
        if parcel is None:
            return None
        self._bytes -= len(parcel.data)
        return parcel.data
