"""One stream's way through time: which stretch of audio is looked at next, how, and what is said of it.

Holds no tensors of the model and runs none: it gives a `Plan`, the transcriber carries it out for many
streams at once, and `finish` turns the outcome into events.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voicewire.asr.effort import FULL, Effort
from voicewire.asr.encoder import Block, ConvState
from voicewire.asr.events import DecoderReset, Event, Flushed, SpeechStarted, Transcript, Word
from voicewire.asr.gate import SpeechGate, VoiceState
from voicewire.asr.greedy import Decoded, Request
from voicewire.asr.keyterms import Keyterms
from voicewire.asr.loudness import Loudness
from voicewire.asr.mel import MelState
from voicewire.asr.repetition import repeated
from voicewire.asr.settings import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE, StreamSettings
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.utterance import Utterance
from voicewire.asr.watchdog import Watchdog
from voicewire.asr.window import Rollover, Window, choose_rollover
from voicewire.asr.words import SpokenToken, finished, is_voiced, make_words, time_tokens

LOOK_AHEAD = 200  # samples that the convolutions need after a frame's end
SHORTEST_FRAMES = 5  # of a block: 100 ms, the shortest that the adapter knows
CONTEXT_S = 0.6  # the decoder listens this long after speech, since punctuation comes late
LEAST_CERTAINTY = 0.8  # of a word; 1 in 2000 spoken words has less, nine in ten made up from noise do
# of an utterance's first words, by how many there are so far: coughs make short and improbable ones
LEAST_FIRST_PROBABILITY = {1: 0.7, 2: 0.3, 3: 0.3}
NEWS_S = 0.3  # a word is due this long after its end at most
TAIL_PASSES = 4
TAIL_HASTE = 2.0  # what is shown too early is put right
REVISITED = 15  # frames of a tail that are encoded once more, with what follows them
# how much audio must lie behind a word before it is said for good: where the encoder looked ahead, and where not
SETTLE_S, SETTLE_BLIND_S = 0.2, 0.4
QUIET_S = 0.25  # a pause at which a window may be left
TOKENS_PER_S = 20  # bounds the time of a tick; fast speech has 8
LEAST_TOKENS = 12


class Kind(Enum):
    """What a tick does with the audio since the last commit."""

    LISTEN = auto()  # only the clock and the gate go on
    TAIL = auto()  # looked at, to be looked at again
    COMMIT = auto()  # settled
    FLUSH = auto()  # settled at once, as if silence followed


@dataclass(frozen=True)
class FlushMark:
    """Stands in the queue behind the audio that it is about."""

    tag: str | None


@dataclass(frozen=True)
class SettingsMark:
    """Stands in the queue behind the last audio of the old settings."""

    settings: StreamSettings


@dataclass(frozen=True)
class Plan:
    """One tick of one stream.

    Attributes:
        kind: what it does.
        blocks: to be encoded, in order; empty where nothing is.
        request: to be decoded, or None.
        frames: the tick's end, as a position in the window.
        tag: of the flush.
        last: whether nothing may be left open: a flush, or the end of an utterance.
        ahead: of the frames up to the tick's end, how many are heard but not settled.
    """

    kind: Kind
    blocks: list[Block]
    request: Request | None
    frames: int
    tag: str | None = None
    last: bool = False
    ahead: int = 0


@dataclass
class Stream:
    """One stream's state, all but its slot's tensors.

    Attributes:
        queue: audio and marks not yet looked at.
        clock_samples: audio looked at, from the session's start.
        ticked: the last tick's end, as a position in the window.
        draft: the tail's tokens, to be verified by the next tick.
        restart_s: where a new window must begin, because the decoder lost its way.
        unsent: committed tokens that do not make a whole character yet.
        effort: what is done for it beyond its committed words.
        row_samples: samples that a row of the queue stands for: 1 of audio, 320 where it is fed with features.
        keyterms: those of the settings.
    """

    slot: int
    settings: StreamSettings
    vocabulary: Vocabulary
    window: Window
    queue: deque[Tensor | FlushMark | SettingsMark] = field(default_factory=deque)
    clock_samples: int = 0
    ticked: int = 0
    mel: MelState = field(default_factory=MelState)
    conv: ConvState = field(default_factory=ConvState)
    voice: VoiceState = field(default_factory=VoiceState)
    gate: SpeechGate = field(default_factory=SpeechGate)
    loudness: Loudness = field(default_factory=Loudness)
    draft: list[int] = field(default_factory=list)
    unsent: list[SpokenToken] = field(default_factory=list)
    restart_s: float | None = None
    utterance: Utterance = field(default_factory=Utterance)
    watchdog: Watchdog = field(default_factory=Watchdog)
    tail_shown: bool = False
    row_samples: int = 1
    effort: Effort = FULL
    keyterms: Keyterms | None = field(init=False)

    def __post_init__(self) -> None:
        self.keyterms = Keyterms.of(self.settings.keyterms, self.vocabulary)

    @classmethod
    def begin(cls, slot: int, settings: StreamSettings, vocabulary: Vocabulary) -> "Stream":
        prompt = vocabulary.prompt([])
        return cls(slot, settings, vocabulary, Window(prefix=prompt, prompt=len(prompt)))

    # ---- audio

    @property
    def clock_s(self) -> float:
        return self.clock_samples / SAMPLE_RATE

    @property
    def backlog_samples(self) -> int:
        return sum(len(item) * self.row_samples for item in self.queue if isinstance(item, Tensor))

    @property
    def reads(self) -> bool:
        """Whether it is fed with features, not audio."""
        return self.row_samples > 1

    def next_tick(self) -> int:
        """Where the next tick ends, as a position in the window."""
        block_end = max(self._commit_at, self.ticked + SHORTEST_FRAMES)
        return min(self.ticked + self.settings.chunk_frames, block_end)

    def take(self) -> tuple[Tensor, FlushMark | None] | None:
        """The queue's rows up to the next tick or flush, whichever comes first; None: they have not come yet."""
        while self.queue:
            needed, ready = self._needed(), self._ready()
            if ready >= needed:
                return self._pop(needed), None
            mark = next((item for item in self.queue if not isinstance(item, Tensor)), None)
            if isinstance(mark, FlushMark):
                samples = self._pop(ready)
                self.queue.popleft()
                return samples, mark
            if mark is None:
                return None
            self._apply(mark)
        return None

    def _apply(self, mark: SettingsMark) -> None:
        """New settings hold for the audio before the mark that was not looked at yet, too: it belongs to the
        tick.
        """
        if mark.settings.keyterms != self.settings.keyterms:
            self.keyterms = Keyterms.of(mark.settings.keyterms, self.vocabulary)
        self.settings = mark.settings
        self.queue.remove(mark)

    def _needed(self) -> int:
        """Rows of the queue until the next tick; features come without the convolutions' look-ahead."""
        ahead = 0 if self.reads else LOOK_AHEAD
        end_samples = (self.window.start + self.next_tick()) * FRAME_SAMPLES + ahead
        return (end_samples - self.clock_samples) // self.row_samples

    def _ready(self) -> int:
        """Rows in the queue before its first mark."""
        ready = 0
        for item in self.queue:
            if not isinstance(item, Tensor):
                break
            ready += len(item)
        return ready

    def _pop(self, count: int) -> Tensor:
        pieces = []
        self.clock_samples += count * self.row_samples
        while count > 0:
            piece = self.queue.popleft()
            assert isinstance(piece, Tensor)
            if len(piece) > count:
                self.queue.appendleft(piece[count:])
                piece = piece[:count]
            pieces.append(piece)
            count -= len(piece)
        return torch.cat(pieces) if pieces else torch.zeros(0)

    # ---- a tick

    def hear(self, samples: NDArray[np.float32], probabilities: NDArray[np.float32]) -> list[Event]:
        """Takes the tick's audio and its voice activity."""
        self.loudness.push(samples)
        return [SpeechStarted(round(time_s, 3)) for time_s in self.gate.advance(probabilities)]

    def plan(self, flush: FlushMark | None, padding: int) -> Plan:
        """What to do now that audio up to the tick went through the convolutions.

        Args:
            flush: the mark that ended the audio, if one did.
            padding: frames of silence that lie behind the available ones for the sake of the flush.
        """
        window = self.window
        listening = self._listening()
        if flush:
            end = window.available
            blocks = [Block(self.slot, window.committed, end)] if end > window.committed else []
            if not listening:
                return Plan(Kind.FLUSH, blocks, None, end, flush.tag, last=True)
            blocks.append(Block(self.slot, end, end + padding))
            return Plan(
                Kind.FLUSH, blocks, self._request(end + padding, Kind.FLUSH), end, flush.tag, last=True
            )
        end = self.next_tick()
        kind = self._kind(end)
        if kind is Kind.LISTEN or (kind is Kind.TAIL and not (listening and self._news())):
            return Plan(Kind.LISTEN, [], None, end)
        start = window.committed
        if kind is Kind.TAIL:  # what the last look made of the tail's beginning will do until it is settled
            start = max(start, min(window.encoded, end) - REVISITED)
        block = Block(self.slot, start, end)
        last = self._utterance_over()
        ahead = 0 if last else self.settings.lookahead_frames
        return Plan(
            kind, [block], self._request(end, kind) if listening else None, end, last=last, ahead=ahead
        )

    @property
    def _commit_at(self) -> int:
        """Where a tick must end so that the next block can be settled, as a position in the window."""
        return self.window.committed + self.settings.commit_frames + self.settings.lookahead_frames

    def _kind(self, end: int) -> Kind:
        if end >= self._commit_at or self._utterance_over():
            return Kind.COMMIT
        return Kind.TAIL if self.settings.interim and self._due_look(end) else Kind.LISTEN

    def _due_look(self, end: int) -> bool:
        """Whether a tick's end between two commits is one of those that are looked at."""
        every = self.effort.look_every
        number = round((end - self.window.committed) / self.settings.chunk_frames)
        return every > 0 and number % every == 0

    def _news(self) -> bool:
        """Whether somebody spoke since a little before the last tick, so that the tail may have changed."""
        since_s = (self.window.start + self.ticked) * FRAME_S - NEWS_S
        return not self.settings.gate or self.gate.speech_in(since_s, self.clock_s)

    def _listening(self) -> bool:
        """Whether the decoder should run: not where there was only silence."""
        since_s = self.window.committed_s - CONTEXT_S
        return not self.settings.gate or self.gate.speech_in(since_s, self.clock_s)

    def _utterance_over(self) -> bool:
        if self.utterance.text:
            return self.utterance.is_over(self.gate, self.settings.endpoint_ms)
        return bool(self.draft) and self.gate.pause_s * 1000 >= self.settings.endpoint_ms

    def _request(self, visible: int, kind: Kind) -> Request:
        window = self.window
        audio_s = (visible - window.committed) * FRAME_S
        return Request(
            slot=self.slot,
            vocabulary=self.vocabulary,
            prefix=window.prefix,
            cached=window.cached,
            limits=window.limits,
            text=len(window.prefix) - window.prompt,
            draft=self.draft,
            visible=visible,
            budget=LEAST_TOKENS + int(audio_s * TOKENS_PER_S),
            passes=TAIL_PASSES if kind is Kind.TAIL else None,
            keyterms=self.keyterms,
            haste=TAIL_HASTE if kind is Kind.TAIL else 0.0,
        )

    # ---- its outcome

    def finish(self, plan: Plan, decoded: Decoded | None) -> list[Event]:
        """Takes in what came of a plan and says what is to be said."""
        self.ticked = plan.frames
        if plan.blocks:
            self.window.encoded = plan.frames
        if plan.kind is Kind.LISTEN:
            return self._end_tail()
        if plan.kind is Kind.TAIL:
            assert decoded is not None
            self.draft = decoded.tokens
            return self._transcript((), self._timed(decoded))
        return self._settle(plan, decoded)

    def _settle(self, plan: Plan, decoded: Decoded | None) -> list[Event]:
        """A commit or a flush: what was decoded is said for good."""
        tokens = self._timed(decoded) if decoded is not None else []
        settled = len(tokens) if plan.last else self._heard_out(tokens, plan.frames)
        tokens, tail = tokens[:settled], tokens[settled:]
        events: list[Event] = []
        loop = repeated([*self.window.prefix[self.window.prompt :], *(spoken.token for spoken in tokens)])
        if loop and tokens:
            tokens, tail = tokens[: max(0, len(tokens) - loop)], []
            self.restart_s = (self.window.start + plan.frames) * FRAME_S
            events.append(DecoderReset("repetition", round(self.clock_s, 3)))
        end_s = (self.window.start + plan.frames) * FRAME_S
        speech = self.gate.certainty(self.watchdog.until_s, end_s) >= LEAST_CERTAINTY
        if self.watchdog.heard(end_s, speech=speech, words=bool(tokens or tail)):
            self.restart_s = end_s
            events.append(DecoderReset("silence", round(self.clock_s, 3)))
        if self._doubtful(tokens) and not plan.last:
            tokens, tail = [], tokens
        believed = 0 if self._doubtful(tokens) else self._believed(tokens)
        if believed < len(tokens):
            self.restart_s = tokens[-1].end_s
            tokens, tail = tokens[:believed], []
        self.window.commit(plan.frames - plan.ahead, tokens, decoded=decoded is not None)
        self.draft = [spoken.token for spoken in tail]
        tail = tail if self.settings.interim else []
        self.unsent += tokens
        count = len(self.unsent) if plan.kind is Kind.FLUSH else finished(self.vocabulary, self.unsent)
        words = make_words(self.vocabulary, self.unsent[:count], self.loudness, self.clock_s)
        self.unsent = self.unsent[count:]
        self.utterance.add(words)
        news = self._transcript(words, tail) if words or tail else self._end_tail()
        events = [*news, *events]
        if plan.kind is Kind.FLUSH:
            events.append(Flushed(plan.tag, round(self.clock_s, 3)))
        if self.utterance.is_over(self.gate, self.settings.endpoint_ms):
            events.append(self.utterance.endpoint())
            self.utterance = Utterance(self.utterance.number + 1)
        return events

    def _heard_out(self, tokens: list[SpokenToken], frames: int) -> int:
        """How many of the tokens belong to words with enough audio behind them, at a position in the window."""
        settle_s = SETTLE_S if self.settings.lookahead_frames else SETTLE_BLIND_S
        until_s = (self.window.start + frames) * FRAME_S - settle_s
        count = 0
        for group in self.vocabulary.groups([spoken.token for spoken in tokens]):
            if tokens[count + len(group) - 1].end_s > until_s:
                break
            count += len(group)
        return count

    def _timed(self, decoded: Decoded) -> list[SpokenToken]:
        return time_tokens(
            decoded.tokens,
            decoded.probabilities,
            decoded.attention.cpu().numpy(),
            origin_s=self.window.start_s,
            from_s=self.window.said_until_s,
        )

    def _believed(self, tokens: list[SpokenToken]) -> int:
        """How many of the tokens belong to words that somebody spoke: some noises open the gate, and the
        decoder makes words of them, but they do not sound like speech for long enough."""
        if not self.settings.gate:
            return len(tokens)
        believed = 0
        for group in self.vocabulary.groups([spoken.token for spoken in tokens]):
            members = tokens[believed : believed + len(group)]
            if is_voiced(self.vocabulary.text(group)):
                if self.gate.certainty(members[0].start_s, members[-1].end_s) < LEAST_CERTAINTY:
                    break
            elif not (believed or self.utterance.text):
                break  # a full stop needs a sentence; where it has one, it may well lie in the pause
            believed += len(group)
        return believed

    def _doubtful(self, tokens: list[SpokenToken]) -> bool:
        """Whether these are but a few improbable words, and the utterance has no others: a cough, more often than
        not. They are believed when more follow."""
        if not self.settings.gate or self.utterance.text or not tokens:
            return False
        count = len(self.vocabulary.groups([spoken.token for spoken in tokens]))
        probability = math.prod(spoken.probability for spoken in tokens) ** (1 / len(tokens))
        return probability < LEAST_FIRST_PROBABILITY.get(count, 0.0)

    def _transcript(self, words: tuple[Word, ...], tail: list[SpokenToken]) -> list[Event]:
        tail = tail[: self._believed(tail[: finished(self.vocabulary, tail)])]
        shown = make_words(self.vocabulary, tail, self.loudness, self.clock_s)
        self.tail_shown = bool(shown)
        return [Transcript(words, shown, self.utterance.number, round(self.clock_s, 3))]

    def _end_tail(self) -> list[Event]:
        """Takes back a tail that came to nothing."""
        return self._transcript((), []) if self.tail_shown and not self.draft else []

    # ---- rollover

    def rollover(self) -> Rollover | None:
        """How to leave the window, if it must be left now."""
        window = self.window
        if self.restart_s is not None:
            position = round((self.restart_s - window.start_s) / FRAME_S)
            return Rollover(min(max(position, 0), window.available), [])
        quiet = self.gate.pause_s >= QUIET_S
        if not window.must_leave(quiet):
            return None
        return choose_rollover(window, self.word_starts(), quiet)

    def word_starts(self) -> list[int]:
        """Indices into the window's committed tokens at which words begin."""
        groups = self.vocabulary.groups([spoken.token for spoken in self.window.spoken])
        return np.cumsum([0, *(len(group) for group in groups)])[:-1].tolist() if groups else []

    def roll(self, window: Window) -> None:
        """Goes on in a new window, at the same moment of the clock."""
        self.ticked += self.window.start - window.start
        self.loudness.forget(window.start)
        self.restart_s = None
        self.window = window
