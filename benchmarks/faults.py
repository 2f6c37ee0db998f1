"""What is lost when something goes wrong: faults injected into a real server under load, and what clients missed.

Each client says the same speech once undisturbed and once while things break; its words, with their times, must be
the same. `--only` picks among the faults:

    kill     the client's connection is cut at --kills random moments, from the handshake to `done`
    restart  the server is told to stop in mid-speech, and started again with the same handover folder
    worker   the process of a recogniser is killed: its sessions end with a clear error, the others notice nothing
    reader   a client that sends and never reads
    fuzz     --inputs malformed handshakes, frames and messages over raw sockets, beside a session that goes on
"""

import argparse
import asyncio
import json
import random
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.fuzzer import START, Fuzzer, framed, request
from benchmarks.machine import Machine, this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import table_parser, wide_console
from benchmarks.served import free_port, process_at, served
from benchmarks.speech_tars import SAMPLE_RATE, SpeechTar
from voicewire.client import ServerError, connect
from voicewire.streaming.messages import Resumed, TranscriptMessage

_PIECE_S = 0.1
_HEADINGS = ("fault", "times", "sessions", "came back", "words", "words lost or changed", "besides")


@dataclass(frozen=True, slots=True)
class Heard:
    """What one client got.

    Attributes:
        words: with their times.
        resumed: how often it came back.
        error: the code that ended it, or nothing.
    """

    words: tuple[str, ...]
    resumed: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table.

    Attributes:
        fault: what was done.
        times: how often.
        sessions: that were watched.
        resumed: how often their clients came back.
        words: that they should have got.
        lost: of these, not there or not the same; words that should not be there count too.
        besides: what else is worth knowing.
    """

    fault: str
    times: int
    sessions: int
    resumed: int
    words: int
    lost: int
    besides: str = ""


class Speaker:
    """A client that says a clip.

    Args:
        samples: int16 of shape (samples,), mono, 16 kHz.
        pace: times the pace of speech.

    Attributes:
        audio: the samples as bytes.
        seconds: that it takes.
    """

    def __init__(self, samples: np.ndarray, pace: float) -> None:
        self.audio = samples.tobytes()
        self._pace = pace
        self.seconds = len(samples) / SAMPLE_RATE / pace

    async def speak(self, url: str, cuts: Sequence[float] = (), delay_s: float = 0.0) -> Heard:
        """Says it once; the connection is cut at these seconds since it began."""
        await asyncio.sleep(delay_s)
        words: list[str] = []
        resumed = 0
        try:
            async with connect(url, sample_rate=SAMPLE_RATE) as stream:
                cutter = asyncio.create_task(self._cut(stream, cuts))
                async for event in stream.feed(self._source()):
                    if isinstance(event, TranscriptMessage):
                        words += [f"{word.word} {word.start} {word.end}" for word in event.words]
                    resumed += isinstance(event, Resumed)
                cutter.cancel()
        except ServerError as error:
            return Heard(tuple(words), resumed, error.code)
        return Heard(tuple(words), resumed)

    async def _source(self) -> AsyncIterator[bytes]:
        began = time.perf_counter()
        size = round(_PIECE_S * SAMPLE_RATE) * 2
        for number, start in enumerate(range(0, len(self.audio), size)):
            due = began + number * _PIECE_S / self._pace
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            yield self.audio[start : start + size]

    async def _cut(self, stream: Any, cuts: Sequence[float]) -> None:
        began = time.perf_counter()
        for moment in sorted(cuts):
            await asyncio.sleep(max(0.0, began + moment - time.perf_counter()))
            # As when the network goes: no closing handshake, and what was on its way is gone.
            stream._link._socket.transport.abort()


def lost_words(expected: Heard, heard: Heard) -> int:
    """Words that are not there or not the same."""
    same = sum(one == other for one, other in zip(expected.words, heard.words, strict=False))
    return max(len(expected.words), len(heard.words)) - same


def kill(url: str, speakers: Sequence[Speaker], args: argparse.Namespace) -> Outcome:
    """One session after another, each cut ten times."""
    chance = random.Random(args.seed)
    left, resumed, words, lost, sessions = args.kills, 0, 0, 0, 0
    while left > 0:
        speaker = speakers[sessions % len(speakers)]
        count = min(10, left)
        expected = asyncio.run(speaker.speak(url))
        cuts = [chance.uniform(0, 1.1 * speaker.seconds) for _ in range(count)]
        heard = asyncio.run(speaker.speak(url, cuts))
        left, sessions = left - count, sessions + 1
        resumed, words = resumed + heard.resumed, words + len(expected.words)
        lost += lost_words(expected, heard)
    return Outcome("connection cut", args.kills, sessions, resumed, words, lost)


def _all(url: str, speakers: Sequence[Speaker]) -> list[Heard]:
    async def speak() -> list[Heard]:
        return await asyncio.gather(
            *(one.speak(url, delay_s=0.2 * number) for number, one in enumerate(speakers))
        )

    return asyncio.run(speak())


def restart(url: str, speakers: Sequence[Speaker], args: argparse.Namespace) -> Outcome:
    """Servers of its own; `url` is not looked at."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as clients:
        options = ["--handover", folder, "--threads", "1", "--set", "resume_s=120"]
        with served(options, port) as base:
            own = f"{base}/v1/stream"
            expected = _all(own, speakers)
            calls = clients.submit(_all, own, speakers)
            time.sleep(0.5 * min(one.seconds for one in speakers))
            stopping = time.perf_counter()
        with served(options, port):
            away_s = time.perf_counter() - stopping
            heard = calls.result()
    lost = sum(lost_words(before, after) for before, after in zip(expected, heard, strict=True))
    return Outcome(
        "server stopped by SIGTERM and started again",
        1,
        len(speakers),
        sum(one.resumed for one in heard),
        sum(len(one.words) for one in expected),
        lost,
        f"{away_s:.1f} s from the signal to the next server being ready",
    )


def worker(url: str, speakers: Sequence[Speaker], args: argparse.Namespace) -> Outcome:
    """A server of its own, with two recognisers in processes of their own."""
    with ThreadPoolExecutor(1) as clients, served(["--threads", "2"]) as base:
        own = f"{base}/v1/stream"
        server = process_at(base)
        expected = _all(own, speakers)
        calls = clients.submit(_all, own, speakers)
        time.sleep(0.5 * min(one.seconds for one in speakers))
        killed = time.perf_counter()
        server.children()[0].kill()
        heard = calls.result()
        ended = [one.error for one in heard if one.error]
        while len(server.children()) < 2:
            time.sleep(0.05)
        back_s = time.perf_counter() - killed
    pairs = [pair for pair in zip(expected, heard, strict=True) if not pair[1].error]
    return Outcome(
        "process of a recogniser killed",
        1,
        len(speakers),
        0,
        sum(len(before.words) for before, _ in pairs),
        sum(lost_words(before, after) for before, after in pairs),
        f"{len(ended)} sessions ended with {', '.join(sorted(set(ended)))}, whose words are not counted; "
        f"another process within {back_s:.1f} s",
    )


def reader(url: str, speakers: Sequence[Speaker], args: argparse.Namespace) -> Outcome:
    """A client that sends and never reads, beside one that does."""

    return _beside(
        url, speakers[0], "client that never reads", 1, lambda: _deaf(url, speakers[0].audio, args.deaf_s)
    )


def _deaf(url: str, audio: bytes, most_s: float) -> str:
    """Sends the audio again and again, as fast as it is taken, and reads nothing behind the handshake."""
    parts = urlsplit(url)
    began = time.perf_counter()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((parts.hostname, parts.port))
        connection.settimeout(1.0)
        connection.sendall(request(url, bytes(16)))
        connection.recv(4096)
        connection.sendall(framed(json.dumps(START).encode(), 1))
        size = round(_PIECE_S * SAMPLE_RATE) * 2
        frames = [framed(audio[start : start + size], 2) for start in range(0, len(audio), size)]
        while time.perf_counter() - began < most_s:
            try:
                for frame in frames:
                    connection.sendall(frame)
            except TimeoutError:
                break  # half a frame is sent: from here on it says nothing either
            except OSError:
                return f"let go after {time.perf_counter() - began:.0f} s"
        while time.perf_counter() - began < most_s:
            time.sleep(0.5)
            try:
                connection.send(b"")
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return f"let go after {time.perf_counter() - began:.0f} s"
            except OSError:
                return f"let go after {time.perf_counter() - began:.0f} s"
    return f"not let go in {most_s:.0f} s"


def fuzz(url: str, speakers: Sequence[Speaker], args: argparse.Namespace) -> Outcome:
    """Malformed inputs, with one session after another beside them."""
    fuzzer = Fuzzer(url, args.seed)
    server = process_at(url)
    fuzzer.attack()
    before = server.memory_info().rss

    def attack() -> str:
        for _ in range(args.inputs - 1):
            fuzzer.attack()
        grown = server.memory_info().rss / before - 1
        kinds = ", ".join(f"{count} {kind}s" for kind, count in sorted(fuzzer.sent.items()))
        return f"{kinds}; {fuzzer.unanswered} without an answer; memory {grown:+.1%}"

    return _beside(url, speakers[0], "malformed input", args.inputs, attack)


def _beside(url: str, speaker: Speaker, fault: str, times: int, inject: Callable[[], str]) -> Outcome:
    """Sessions one after another while something goes on."""
    expected = asyncio.run(speaker.speak(url))
    heard: list[Heard] = []
    over = threading.Event()

    def speak() -> None:
        while not over.is_set():
            heard.append(asyncio.run(speaker.speak(url)))

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        besides = inject()
    finally:
        over.set()
        thread.join()
    refused = sum(one.error == "capacity" for one in heard)
    admitted = [one for one in heard if one.error != "capacity"]
    words = len(expected.words) * len(admitted)
    lost = sum(lost_words(expected, one) for one in admitted)
    besides += f"; {refused} more were refused for want of a slot" if refused else ""
    return Outcome(fault, times, len(admitted), sum(one.resumed for one in admitted), words, lost, besides)


# Sessions that attackers leave behind give their slots back soon.
_OPTIONS = ("--threads", "1", "--set", "outgoing_items=200", "--set", "resume_s=3")
_OWN = frozenset({"restart", "worker"})  # they start servers of their own
FAULTS = {"kill": kill, "restart": restart, "worker": worker, "reader": reader, "fuzz": fuzz}


def _speakers(args: argparse.Namespace) -> list[Speaker]:
    """Clips of about --seconds, each said by one client."""
    clips = [clip for path in args.data for clip in SpeechTar(path).clips(None)]
    clips.sort(key=lambda clip: abs(clip.duration - args.seconds))
    chosen = clips[: args.clients]
    return [Speaker((clip.samples * 32_767).astype(np.int16), args.pace) for clip in chosen]


def report(outcomes: Sequence[Outcome], machine: Machine) -> str:
    """The table as Markdown."""
    rows = [[str(value) for value in asdict(outcome).values()] for outcome in outcomes]
    return f"{markdown_table(_HEADINGS, rows, left=1)}\n{machine}\n"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = table_parser("faults", __doc__)
    parser.add_argument("--only", action="append", choices=[*FAULTS], help="default: all of them")
    parser.add_argument("--kills", type=int, default=100, help="default %(default)s")
    parser.add_argument("--inputs", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--clients", type=int, default=4, help="at one time; default %(default)s")
    parser.add_argument("--seconds", type=float, default=12.0, help="of a clip; default %(default)s")
    parser.add_argument("--pace", type=float, default=2.0, help="times speech; default %(default)s")
    parser.add_argument("--deaf-s", type=float, default=60.0, help="without reading; default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    console = wide_console()
    speakers = _speakers(args)
    machine = this_machine()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for name in args.only or FAULTS:
        with nullcontext("") if name in _OWN else served(_OPTIONS) as base:
            outcomes.append(FAULTS[name](f"{base}/v1/stream", speakers, args))
        console.print(outcomes[-1])
        rows = [asdict(outcome) for outcome in outcomes]
        args.json.write_text(json.dumps({"machine": asdict(machine), "faults": rows}, indent=2) + "\n")
    if args.markdown:
        replace_section(args.markdown, "faults", report(outcomes, machine))


if __name__ == "__main__":
    main()
