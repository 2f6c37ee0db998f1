"""Recordings through the very path that the server runs, as fast as it goes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from voicewire.client.audio_files import AudioFile, Block
from voicewire.client.errors import CommandError
from voicewire.client.local import SAMPLE_RATE, Heard, ModelChoice, Wanted, server_packages, word_item
from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript, segment_of
from voicewire.streaming.subtitles.turns import merge

if TYPE_CHECKING:
    from voicewire.asr.events import Event
    from voicewire.asr.transcriber import StreamingTranscriber


class Online:
    """Causal Whisper; a `LocalTranscriber`. Each thread that asks is a worker, and all share one model.

    Raises:
        MissingPackageError: this is a bare install.
        CommandError: the model cannot be had, or the settings are impossible.
    """

    def __init__(
        self, choice: ModelChoice, wanted: Wanted, chunk_ms: int = 300, commit_ms: int = 1200
    ) -> None:
        with server_packages():
            from voicewire.asr.transcriber import StreamingTranscriber

            self._first = StreamingTranscriber.load(
                choice.model,
                chunk_ms=chunk_ms,
                commit_ms=commit_ms,
                language=wanted.language,
                keyterms=wanted.keyterms,
                adapter=choice.adapter,
                device=choice.device,
                precision=choice.precision,
                threads=choice.threads,
            )
        self._choice = choice
        self._wanted = wanted
        self._idle = [self._first]
        self._lock = threading.Lock()
        self._killed = False

    def transcribe(self, audio: AudioFile, heard: Heard = lambda _: None) -> TimedTranscript:
        names = self._wanted.speakers_of(audio)
        with server_packages(), self._streams(len(names) or 1) as streams:
            lanes = [_Lane(stream, audio.sample_rate) for stream in streams]
            for block in audio.channel_blocks() if names else (mixed[None] for mixed in audio.blocks()):
                if self._killed:
                    raise CommandError("stopped")
                for lane, samples in zip(lanes, block, strict=True):
                    lane.push(samples)
                heard(block.shape[1] / audio.sample_rate)
            transcripts = [lane.finish(self._wanted.language) for lane in lanes]
        return merge(transcripts, names) if names else transcripts[0]

    def close(self) -> None:
        pass

    def kill(self) -> None:
        self._killed = True

    @contextmanager
    def _streams(self, count: int) -> "Iterator[list[StreamingTranscriber]]":
        """Streams for this thread alone, which are made when there are too few."""
        import torch

        if self._choice.threads is not None:
            torch.set_num_threads(self._choice.threads)  # of this thread's products
        with self._lock:
            streams = [self._idle.pop() if self._idle else self._another() for _ in range(count)]
        try:
            yield streams
        finally:
            with self._lock:
                self._idle += streams

    def _another(self) -> "StreamingTranscriber":
        from voicewire.asr.transcriber import StreamingTranscriber

        return StreamingTranscriber(self._first.batch.sibling(), self._first.settings)


class _Lane:
    """One channel as a stream; what it says, utterance by utterance."""

    def __init__(self, stream: "StreamingTranscriber", sample_rate: int) -> None:
        from voicewire.asr.resampler import Resampler

        self._stream = stream
        self._stream.reset()
        self._resampler = Resampler(sample_rate, SAMPLE_RATE)
        self._words: list[list[WordItem]] = [[]]
        self._samples = 0

    def push(self, samples: Block) -> None:
        """Takes more of the channel, (any number,) at the file's rate."""
        ready = self._resampler.push(samples)
        self._samples += len(ready)
        self._take(self._stream.push(ready))

    def finish(self, language: str) -> TimedTranscript:
        last = self._resampler.flush()
        self._samples += len(last)
        self._take(self._stream.push(last) + self._stream.flush())
        segments: tuple[Segment, ...] = tuple(segment_of(words) for words in self._words if words)
        return TimedTranscript(language, self._samples / SAMPLE_RATE, segments)

    def _take(self, events: "list[Event]") -> None:
        from voicewire.asr.events import Endpoint, Transcript

        for event in events:
            if isinstance(event, Transcript):
                self._words[-1].extend(map(word_item, event.words))
            elif isinstance(event, Endpoint):
                self._words.append([])
