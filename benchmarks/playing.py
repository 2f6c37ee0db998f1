"""One clip played to the recogniser as a microphone would: what came when, on a clock that the caller chooses.

In process the clock is the audio's own and computing takes no time: what is left is what the method must wait
for. Against a server the clock is the wall's: everything counts.
"""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.emission import Emission, EmissionLog
from benchmarks.speech_tars import SAMPLE_RATE, Clip
from voicewire.asr.events import Event, Flushed, Transcript, Word
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber
from voicewire.client import connect
from voicewire.streaming.messages import TranscriptMessage, WordItem

PIECE_SAMPLES = SAMPLE_RATE // 50
# Silence after a clip, so that its last words come in their own time and not because of a flush.
QUIET_SAMPLES = 2 * SAMPLE_RATE


@dataclass(frozen=True, slots=True, eq=False)
class Playback:
    """What one clip brought.

    Attributes:
        emissions: the words with the moments they appeared, in seconds since the clip began.
        flush_s: from a flush right at the clip's end until it was answered.
        last_word_s: from that flush until the last word came; None where every word had come before.
        compute_s: what the recogniser computed for it, wall time; 0 where it ran in another process.
        audio_s: audio played in all.
    """

    clip: Clip
    emissions: list[Emission]
    flush_s: float
    last_word_s: float | None
    compute_s: float
    audio_s: float


def play_in_process(transcriber: BatchTranscriber, settings: StreamSettings, clip: Clip) -> Playback:
    """Plays the clip twice: followed by silence for the delays, and cut off by a flush for the flush."""
    log = EmissionLog()
    compute_s = 0.0
    slot = transcriber.open(settings)
    samples = np.concatenate([clip.samples, np.zeros(QUIET_SAMPLES, np.float32)])
    for start in range(0, len(samples), PIECE_SAMPLES):
        transcriber.push(slot, samples[start : start + PIECE_SAMPLES])
        now_s = min(start + PIECE_SAMPLES, len(samples)) / SAMPLE_RATE
        began = time.perf_counter()
        for event in _run(transcriber, slot):
            if isinstance(event, Transcript):
                log.see(now_s, event.words, event.tail)
        compute_s += time.perf_counter() - began
    transcriber.close(slot)

    slot = transcriber.open(settings)
    for start in range(0, len(clip.samples), PIECE_SAMPLES):
        transcriber.push(slot, clip.samples[start : start + PIECE_SAMPLES])
        began = time.perf_counter()
        _run(transcriber, slot)
        compute_s += time.perf_counter() - began
    began = time.perf_counter()
    transcriber.flush(slot)
    events = _run(transcriber, slot)
    if not any(isinstance(event, Flushed) for event in events):
        raise RuntimeError(f"{clip.key}: the recogniser stopped before its flush was done")
    flush_s = time.perf_counter() - began
    transcriber.close(slot)
    more = any(isinstance(event, Transcript) and event.words for event in events)
    audio_s = (len(samples) + len(clip.samples)) / SAMPLE_RATE
    return Playback(clip, log.emissions(), flush_s, flush_s if more else None, compute_s + flush_s, audio_s)


def _run(transcriber: BatchTranscriber, slot: int) -> list[Event]:
    events: list[Event] = []
    while stepped := transcriber.step():
        events += stepped.get(slot, [])
    return events


async def play_to_server(url: str, settings: StreamSettings, clip: Clip) -> Playback:
    """The same two performances, at the pace of speech, over a socket."""
    samples = np.concatenate([clip.samples, np.zeros(QUIET_SAMPLES, np.float32)])
    full = await _perform(url, settings, samples)
    cut = await _perform(url, settings, clip.samples)
    audio_s = (len(samples) + len(clip.samples)) / SAMPLE_RATE
    return Playback(clip, full.log.emissions(), cut.flush_s, cut.last_word_s, 0.0, audio_s)


@dataclass(frozen=True, slots=True)
class _Performance:
    log: EmissionLog
    flush_s: float
    last_word_s: float | None


async def _perform(url: str, settings: StreamSettings, samples: np.ndarray) -> _Performance:
    log = EmissionLog()
    committed: list[float] = []
    chunk_ms, commit_ms = settings.chunk_ms, settings.commit_ms
    async with connect(url, sample_rate=SAMPLE_RATE, chunk_ms=chunk_ms, commit_ms=commit_ms) as stream:
        began = time.perf_counter()

        async def listen() -> None:
            async for message in stream:
                if isinstance(message, TranscriptMessage):
                    now_s = time.perf_counter() - began
                    log.see(now_s, _words(message.words), _words(message.tail))
                    if message.words:
                        committed.append(now_s)

        listener = asyncio.create_task(listen())
        for start in range(0, len(samples), PIECE_SAMPLES):
            # A microphone hands over a piece when its last sample has been spoken.
            end = min(start + PIECE_SAMPLES, len(samples))
            await asyncio.sleep(max(0.0, began + end / SAMPLE_RATE - time.perf_counter()))
            await stream.send(samples[start:end])
        asked = time.perf_counter()
        await stream.flush()
        flush_s = time.perf_counter() - asked
        await stream.close()
        await listener
    late_s = max(committed, default=0.0) - (asked - began)
    return _Performance(log, flush_s, late_s if late_s > 0 else None)


def _words(items: list[WordItem]) -> list[Word]:
    return [Word(item.word, item.start, item.end, item.probability, item.emitted) for item in items]
