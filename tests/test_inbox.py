"""Commands between threads: nothing is lost, in order, and who waits is woken."""

import asyncio
import threading
import time

from voicewire.streaming.commands import CloseStream, FlushStream
from voicewire.streaming.inbox import Inbox
from voicewire.streaming.seat import Seat


def a_seat(inbox: Inbox) -> Seat:
    class Desk:
        def submit(self, seat: Seat, command: object) -> None: ...

    return Seat(Desk(), Desk(), asyncio.new_event_loop(), print)


def test_what_many_threads_put_in_comes_out_in_the_order_of_each() -> None:
    waited: list[float] = []
    inbox = Inbox(waited.append)
    seats = [a_seat(inbox) for _ in range(4)]

    def put(seat: Seat) -> None:
        for number in range(200):
            inbox.put(seat, FlushStream(str(number)))
        inbox.put(seat, CloseStream())

    threads = [threading.Thread(target=put, args=[seat]) for seat in seats]
    for thread in threads:
        thread.start()
    tags: dict[int, list[str]] = {id(seat): [] for seat in seats}
    left = len(seats)
    while left:
        for seat, command in inbox.take(wait=True) or []:
            if isinstance(command, CloseStream):
                left -= 1
            else:
                assert isinstance(command, FlushStream)
                tags[id(seat)].append(command.tag)
    assert all(of_seat == [str(number) for number in range(200)] for of_seat in tags.values())
    assert waited
    assert min(waited) >= 0
    assert inbox.take(wait=False) == []


def test_who_waits_rests_and_is_woken_and_sent_home() -> None:
    inbox = Inbox()
    taken: list[object] = []

    def work() -> None:
        while (commands := inbox.take(wait=True)) is not None:
            taken.append(commands)

    worker = threading.Thread(target=work)
    worker.start()
    seat = a_seat(inbox)
    inbox.put(seat, CloseStream())
    until = time.monotonic() + 5
    while not taken or inbox.pulse.turn_s:
        assert time.monotonic() < until
        time.sleep(0.001)
    inbox.close()
    worker.join(5)
    assert not worker.is_alive()
    assert taken == [[(seat, CloseStream())]]
