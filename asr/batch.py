"""Many streams in one batch: each turn, every stream that has a tick's worth of audio takes part in one pass
of the encoder and in shared passes of the decoder.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicewire.asr.adapters import Adapter, load_adapter
from voicewire.asr.beam import BeamDecoder
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.decoder import TokenDecoder
from voicewire.asr.effort import Effort
from voicewire.asr.encoder import Block, BlockEncoder
from voicewire.asr.errors import AudioError, CapacityError, SettingsError
from voicewire.asr.events import Event
from voicewire.asr.features import FeatureSource
from voicewire.asr.gate import VoiceActivity
from voicewire.asr.greedy import Decoded, decode_greedily
from voicewire.asr.identity import Identity
from voicewire.asr.mel import StreamingLogMel
from voicewire.asr.model import CausalWhisper
from voicewire.asr.places import find_places
from voicewire.asr.precision import Precision, choose_precision
from voicewire.asr.reading import FeatureReader, feature_rows, reading_rollover
from voicewire.asr.samples import own_samples
from voicewire.asr.settings import StreamSettings
from voicewire.asr.slots import Slots
from voicewire.asr.snapshot import load_stream, read_snapshot, save_stream
from voicewire.asr.stream import FlushMark, Kind, Plan, SettingsMark, Stream
from voicewire.asr.tokens import Vocabulary, alignment_heads
from voicewire.asr.weights import load_checkpoint
from voicewire.asr.window import Rollover, next_window

FLUSH_PADDING_S = 0.6  # of silence behind a flush, so that the last words are due
BLOCK_AGAIN = 60  # frames: the blocks in which a rollover encodes what it keeps


class BatchTranscriber:
    """Streams in slots. Not thread-safe: one thread owns it.

    Attributes:
        model_name: openai-whisper's name of the model, or the name of its file.
        adapter: what was merged into it.
        precision: device and number type, and why they were chosen.
        stage_seconds: time spent so far by stage: mel, gate, encoder, decoder, words.
    """

    def __init__(
        self, checkpoint: Checkpoint, adapter: Adapter, precision: Precision, slots: int, widest_beam: int = 1
    ) -> None:
        state = adapter.merge(checkpoint.state)
        self.model = CausalWhisper.from_state(checkpoint.dims, state, precision.dtype, precision.device)
        self.model_name = checkpoint.name
        self.adapter = adapter
        self.precision = precision
        self._identity = Identity(checkpoint.sha256, adapter.sha256, str(precision.dtype))
        self._begin(slots, widest_beam)

    def _begin(self, slots: int, widest_beam: int) -> None:
        """Everything but the model."""
        dims, spare = self.model.dims, widest_beam if widest_beam > 1 else 0
        self.slots = Slots.allocate(dims, slots, self.model.dtype, self.model.device, spare=spare)
        self.encoder = BlockEncoder(self.model, self.slots)
        self.decoder = TokenDecoder(self.model, self.slots, alignment_heads(self.model_name, dims))
        self.beam = BeamDecoder(self.decoder, slots, spare)
        self.stage_seconds: dict[str, float] = defaultdict(float)
        self._mel = StreamingLogMel(dims.n_mels)
        self._voice = VoiceActivity()
        self._vocabularies: dict[str, Vocabulary] = {}
        self._streams: dict[int, Stream] = {}

    @classmethod
    def load(
        cls,
        model: str = "base",
        *,
        slots: int = 8,
        adapter: str | Path = "default",
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        widest_beam: int = 1,
    ) -> "BatchTranscriber":
        """Loads weights and adapter.

        Args:
            model: a Whisper model's name, or the path of its weights.
            slots: how many streams there is room for.
            adapter: "default" for the one that comes with the model, "none", or a path.
            device: "auto", "cpu" or "cuda".
            precision: "auto" (measured), "float32" or "bfloat16".
            threads: processor threads for torch; None leaves torch's own choice.
            widest_beam: the most hypotheses that a stream may ask for.
        Raises:
            WeightsError: weights or adapter are missing or damaged.
            SettingsError: no such device or precision.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint = load_checkpoint(model)
        chosen = choose_precision(checkpoint.dims, device=device, precision=precision)
        return cls(checkpoint, load_adapter(adapter, checkpoint), chosen, slots, widest_beam)

    def sibling(self) -> "BatchTranscriber":
        """Another one with as much room over the same model in memory, for another thread to own."""
        sibling = copy(self)
        sibling._begin(self.capacity, len(self.beam.spare))
        return sibling

    @property
    def identity(self) -> Identity:
        """What a snapshot of a stream must share with whoever restores it."""
        return self._identity

    @property
    def capacity(self) -> int:
        return self.slots.count

    @property
    def free_slots(self) -> int:
        return self.capacity - len(self._streams)

    @property
    def state_bytes_per_slot(self) -> int:
        return self.slots.bytes_per_slot

    # ---- streams

    def open(self, settings: StreamSettings) -> int:
        """Begins a stream; gives its slot. Raises CapacityError, and SettingsError for a language or beam that
        it cannot.
        """
        if settings.beam > max(1, len(self.beam.spare)):
            raise SettingsError(
                f"a beam of {settings.beam} needs BatchTranscriber.load(widest_beam={settings.beam})"
            )
        vocabulary = self._vocabulary(settings.language)
        slot = self._free_slot()
        self._streams[slot] = Stream.begin(slot, settings, vocabulary)
        return slot

    def push(self, slot: int, samples: NDArray[np.float32]) -> None:
        """Queues mono float32 samples at 16 kHz, shape = (n,). Raises AudioError for anything else, and where
        the stream is fed with features.
        """
        self._put(slot, torch.from_numpy(own_samples(samples)), 1)

    def push_features(
        self, slot: int, features: NDArray[np.float32], voice: NDArray[np.float32] | None = None
    ) -> None:
        """Queues what FeatureStreams gives of a stream from its beginning on, instead of audio: the encoder's
        output for frames of 20 ms, shape = (n, n_state), and how likely speech is in each, shape = (n,); None:
        it is everywhere.

        Raises AudioError for anything else, and where the stream is fed with audio; WeightsError as `reader`.
        """
        rows = feature_rows(features, voice, self.model.dims.n_audio_state)
        self._put(slot, rows, self.reader.row_samples)

    def _put(self, slot: int, rows: Tensor, row_samples: int) -> None:
        stream = self._streams[slot]
        if not (stream.clock_samples or stream.backlog_samples):
            stream.row_samples = row_samples
        if stream.row_samples != row_samples:
            raise AudioError("a stream is fed with audio or with features, as it began, and not with both")
        if len(rows):
            stream.queue.append(rows)

    def flush(self, slot: int, tag: str | None = None) -> None:
        """Asks for every word of the audio pushed so far; answered by Flushed(tag)."""
        self._streams[slot].queue.append(FlushMark(tag))

    def configure(self, slot: int, settings: StreamSettings) -> None:
        """New settings for the audio that follows."""
        self._streams[slot].queue.append(SettingsMark(settings))

    def set_effort(self, slot: int, effort: Effort) -> None:
        """What is done for the stream from its next tick on, whatever is queued."""
        self._streams[slot].effort = effort

    def backlog_samples(self, slot: int) -> int:
        """Samples pushed and not yet looked at."""
        return self._streams[slot].backlog_samples

    def close(self, slot: int) -> None:
        """Forgets a stream."""
        del self._streams[slot]

    def snapshot(self, slot: int) -> bytes:
        """The stream's whole state; see snapshot.py."""
        return save_stream(self._streams[slot], self.slots, self._identity)

    def restore(self, data: bytes) -> int:
        """Goes on with the stream of a snapshot; gives its slot.

        Raises SnapshotError for a snapshot that is damaged or of another model, and CapacityError.
        """
        snapshot = read_snapshot(data, self._identity)
        slot = self._free_slot()
        vocabulary = self._vocabulary(snapshot.settings.language)
        self._streams[slot] = load_stream(snapshot, slot, self.slots, vocabulary)
        return slot

    def step(self) -> dict[int, list[Event]]:
        """One tick for every stream that has one; {} where none had. Slots without news have an empty list."""
        events: dict[int, list[Event]] = {}
        plans: list[tuple[Stream, Plan]] = []
        for slot, stream in self._streams.items():
            taken = stream.take()
            if taken is None:
                continue
            rows, flush = taken
            events[slot] = self.reader.read(stream, rows) if stream.reads else self._hear(stream, rows)
            padding = self._pad(stream) if flush else 0
            plans.append((stream, stream.plan(flush, padding)))
        outcomes = self._run(plans)
        with self._timed("words"):
            for (stream, plan), decoded in zip(plans, outcomes, strict=True):
                events[stream.slot] += stream.finish(plan, decoded)
        self._roll([stream for stream, plan in plans if plan.kind in (Kind.COMMIT, Kind.FLUSH)])
        return events

    @cached_property
    def feature_source(self) -> FeatureSource:
        """The encoder by itself, for codecs of words. Raises WeightsError where there are no places for it."""
        model, adapter = self._identity.model, self._identity.adapter
        return FeatureSource(self.model, find_places(model, adapter), model, adapter)

    @cached_property
    def reader(self) -> FeatureReader:
        """What feeds streams with features. Raises WeightsError as `feature_source` does."""
        return FeatureReader(self.encoder, self.feature_source.places)

    # ---- a turn

    def _hear(self, stream: Stream, samples: Tensor) -> list[Event]:
        """Runs a stream's new samples through gate, spectrogram and convolutions."""
        with self._timed("gate"):
            heard = samples.numpy()
            events = stream.hear(heard, self._voice.push(stream.voice, heard))
        with self._timed("mel"):
            mel = self._mel.push(stream.mel, samples)
        with self._timed("encoder"):
            frames = self.encoder.convolve(stream.conv, mel)
            self._lay(stream, frames)
            stream.window.available += len(frames)
        return events

    def _lay(self, stream: Stream, frames: Tensor) -> None:
        """Puts frames behind the available ones."""
        at = stream.window.available
        self.slots.front[stream.slot, at : at + len(frames)] = frames

    def _pad(self, stream: Stream) -> int:
        """Lays silence behind the audio for a flush, as if it had been heard; gives its length in frames."""
        if stream.reads:
            return self.reader.pad(stream)
        silence = torch.zeros(int(FLUSH_PADDING_S * 16_000))
        mel = self._mel.push(stream.mel.copy(), silence)
        frames = self.encoder.convolve(stream.conv.copy(), mel)
        self._lay(stream, frames)
        return len(frames)

    def _run(self, plans: list[tuple[Stream, Plan]]) -> list[Decoded | None]:
        blocks = [block for stream, plan in plans if not stream.reads for block in plan.blocks]
        if blocks:
            with self._timed("encoder"):
                self.encoder.encode(blocks)
        greedy = [plan.request for stream, plan in plans if plan.request and not _searched(stream, plan)]
        with self._timed("decoder"):
            decoded = iter(decode_greedily(self.decoder, greedy))
            return [self._search(s, plan) if _searched(s, plan) else next(decoded) if plan.request else None
                    for s, plan in plans]  # fmt: skip

    def _search(self, stream: Stream, plan: Plan) -> Decoded:
        assert plan.request is not None
        return self.beam.decode(plan.request, min(stream.settings.beam, stream.effort.widest_beam))

    def _roll(self, settled: list[Stream]) -> None:
        """Moves streams whose window is full to the next one."""
        blocks: list[Block] = []
        for stream in settled:
            rollover = reading_rollover(stream) if stream.reads else stream.rollover()
            if rollover is not None:
                blocks += self._begin_window(stream, rollover)
        if blocks:
            with self._timed("encoder"):
                self.encoder.encode(blocks)

    def _begin_window(self, stream: Stream, rollover: Rollover) -> list[Block]:
        """Gives the blocks that must be encoded again."""
        front = self.slots.front[stream.slot]
        kept = front[rollover.keep_from : stream.window.available].clone()
        front[: len(kept)] = kept
        stream.roll(next_window(stream.window, rollover, stream.vocabulary.prompt([])))
        if stream.reads:
            self.reader.begin_window(stream, rollover)
            return []
        end = stream.window.committed
        return [Block(stream.slot, at, min(at + BLOCK_AGAIN, end)) for at in range(0, end, BLOCK_AGAIN)]

    # ---- odds

    def _free_slot(self) -> int:
        for slot in range(self.capacity):
            if slot not in self._streams:
                self.slots.clear(slot)
                return slot
        raise CapacityError(f"all {self.capacity} slots are taken: close a stream, or load with more slots")

    def _vocabulary(self, language: str) -> Vocabulary:
        if language not in self._vocabularies:
            self._vocabularies[language] = Vocabulary.of(self.model.dims, language, self.model.device)
        return self._vocabularies[language]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stage_seconds[stage] += time.perf_counter() - start


def _searched(stream: Stream, plan: Plan) -> bool:
    """Whether beam search has the word: at commits, where the stream asked for it."""
    beam = min(stream.settings.beam, stream.effort.widest_beam)
    return beam > 1 and plan.request is not None and plan.kind in (Kind.COMMIT, Kind.FLUSH)
