"""Training windows: 30 s put together anew each time from prepared utterances, in every way that a stream may
sound.

Window `index` of a seed is always the same, whatever was made before, so a run that was cut off goes on as if it
had not been.
"""

import logging
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from whisper.audio import HOP_LENGTH

from voicewire.asr.errors import AudioError, SettingsError
from voicewire.asr.mel import log_mel, log_power, scaled
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.asr.train import augment
from voicewire.asr.train.augment import Random, Samples
from voicewire.asr.train.labels import in_order
from voicewire.asr.train.settings import WindowSettings
from voicewire.asr.train.shards import Shard, Utterance
from voicewire.asr.train.teacher import WINDOW_S, WINDOW_SAMPLES

log = logging.getLogger(__name__)

MELS = WINDOW_SAMPLES // HOP_LENGTH
MOST_TOKENS = 210
MOST_HISTORY = 100
_EARLIER_S = (3.0, 20.0)  # what a window that begins in mid-speech has behind it


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What the model is trained on.

    Attributes:
        mel: of what the stream hears, clamped at the running maximum, shape = (3000, n_mels).
        clean: of the same speech without noise, room and codec, clamped as Whisper does, for the unmodified model.
        history: tokens said before the window began, to be given as a prompt.
        tokens: tokens said in it.
        due: when each should be said, seconds from the window's start.
    """

    mel: Tensor
    clean: Tensor
    history: list[int]
    tokens: list[int]
    due: list[float]


@dataclass
class _Timeline:
    """Speech and what is said in it, as it is put together."""

    pieces: list[Samples] = field(default_factory=list)
    length: int = 0
    tokens: list[int] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    due: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.length / SAMPLE_RATE

    def pause(self, seconds: float) -> None:
        self._append(np.zeros(int(seconds * SAMPLE_RATE), np.float32))

    def speak(self, samples: Samples, utterance: Utterance, factor: float) -> None:
        self.tokens += utterance.tokens
        self.begins += [self.seconds + time / factor for time in utterance.begins]
        self.due += [self.seconds + time / factor for time in utterance.due]
        self._append(samples)

    def _append(self, samples: Samples) -> None:
        self.pieces.append(samples)
        self.length += len(samples)

    def samples(self, count: int) -> Samples:
        whole = np.concatenate(self.pieces) if self.pieces else np.zeros(0, np.float32)
        return np.pad(whole[:count], (0, max(0, count - len(whole))))


class WindowMaker(Dataset[list[Window]]):
    """Batches of windows by number."""

    def __init__(self, shards: list[Shard], settings: WindowSettings, n_mels: int, batch: int) -> None:
        """Raises AudioError where no speech is in the shards, SettingsError where none of it may be drawn."""
        self._settings = settings
        self._n_mels = n_mels
        self._batch = batch
        self._corpora: dict[str, list[tuple[Shard, Utterance]]] = {}
        self._noises: list[tuple[Shard, Utterance]] = []
        for shard in shards:
            for utterance in shard.utterances:
                if utterance.tokens:
                    corpus = str(utterance.facts.get("corpus", shard.name))
                    self._corpora.setdefault(corpus, []).append((shard, utterance))
                else:
                    self._noises.append((shard, utterance))
        if not self._corpora:
            raise AudioError("no speech has been prepared: prepare recordings in which something is said")
        for name in settings.weights.keys() - self._corpora.keys():
            log.warning("a weight is given for %s, of which nothing has been prepared", name)
        hours = {name: _hours(members) for name, members in self._corpora.items()}
        self.hours = hours
        self.noise_hours = _hours(self._noises)
        weights = np.array(
            [settings.weight_of(name) * value**settings.evenness for name, value in hours.items()]
        )
        self._names = list(hours)
        # a corpus is drawn by utterance, and those of some are longer than those of others
        means = np.array([value / len(self._corpora[name]) for name, value in hours.items()])
        chances = weights / means
        if not chances.sum() > 0:
            raise SettingsError("every corpus has the weight 0: nothing could be drawn")
        self._chances = chances / chances.sum()

    def __getitem__(self, number: int) -> list[Window]:
        return [self.window(number * self._batch + place) for place in range(self._batch)]

    def window(self, index: int) -> Window:
        """Window `index`."""
        random = np.random.default_rng([self._settings.seed, index])
        kind = random.random()
        if kind < self._settings.without_words:
            return self._without_words(random)
        if kind < self._settings.without_words + self._settings.in_the_middle:
            return self._speech(random, random.uniform(*_EARLIER_S))
        return self._speech(random, 0.0)

    # ---- speech

    def _speech(self, random: Random, earlier_s: float) -> Window:
        timeline = self._timeline(random, earlier_s)
        skipped = round(earlier_s * SAMPLE_RATE)
        clean = timeline.samples(skipped + WINDOW_SAMPLES)
        heard = self._disturbed(clean, random)
        inside = [place for place, begin in enumerate(timeline.begins) if begin >= earlier_s - 0.05]
        first = inside[0] if inside else len(timeline.tokens)
        last = min(first + MOST_TOKENS, len(timeline.tokens))
        history: list[int] = []
        if first and random.random() < self._settings.with_history:
            history = timeline.tokens[max(0, first - int(random.integers(1, MOST_HISTORY))) : first]
        due = in_order([time - earlier_s for time in timeline.due[first:last]])
        kept = sum(time < WINDOW_S - 0.2 for time in due)
        return self._window(clean, heard, skipped, history, timeline.tokens[first : first + kept], due[:kept])

    def _timeline(self, random: Random, earlier_s: float) -> _Timeline:
        timeline = _Timeline()
        timeline.pause(random.uniform(0.0, 1.2))
        end_s = earlier_s + random.choice([WINDOW_S, WINDOW_S, WINDOW_S, 24.0, 15.0])
        while timeline.seconds < end_s - 1.0:
            members = self._corpora[self._names[random.choice(len(self._names), p=self._chances)]]
            shard, utterance = members[random.integers(len(members))]
            if timeline.seconds + utterance.duration_s > end_s + 4.0:
                timeline.pause(1.0)
                continue
            factor = random.uniform(0.88, 1.14) if random.random() < self._settings.speed else 1.0
            samples = shard.audio(utterance)
            samples = samples if factor == 1.0 else augment.speed(samples, factor)
            timeline.speak(self._leveled(samples, random), utterance, factor)
            timeline.pause(random.choice([random.uniform(0.1, 0.5), random.uniform(0.3, 2.0)]))
            if random.random() < self._settings.long_pause:
                timeline.pause(random.uniform(2.0, 8.0))
        return timeline

    @staticmethod
    def _leveled(samples: Samples, random: Random) -> Samples:
        """Speakers are not equally loud."""
        loud = np.sqrt(np.mean(samples**2)) + 1e-6
        level = 10.0 ** (random.uniform(-34.0, -17.0) / 20.0)
        return (samples * (level / loud)).astype(np.float32)

    def _disturbed(self, clean: Samples, random: Random) -> Samples:
        settings = self._settings
        heard = clean
        if random.random() < settings.room:
            heard = augment.room(heard, random)
        if random.random() < settings.noise:
            heard = augment.noise(heard, self._background(len(heard), random), random.uniform(3.0, 30.0))
        if random.random() < settings.tilt:
            heard = augment.tilt(heard, random)
        if random.random() < settings.telephone:
            heard = augment.telephone(heard, random)
        elif random.random() < settings.codec:
            heard = augment.codec(heard, random)
        hiss = 10.0 ** random.uniform(-4.8, -3.2) * random.standard_normal(len(heard)).astype(np.float32)
        gain = 10.0 ** (random.uniform(-12.0, 6.0) / 20.0)
        return np.clip(gain * heard + hiss, -1.0, 1.0)

    # ---- no speech

    def _without_words(self, random: Random) -> Window:
        background = self._background(WINDOW_SAMPLES, random)
        level = 10.0 ** (random.uniform(-60.0, -15.0) / 20.0)
        heard = np.clip(background * level / (np.sqrt(np.mean(background**2)) + 1e-9), -1, 1)
        return self._window(np.zeros(WINDOW_SAMPLES, np.float32), heard.astype(np.float32), 0, [], [], [])

    def _background(self, count: int, random: Random) -> Samples:
        if not self._noises or random.random() < self._settings.made_noise:
            return augment.colored(count, random)
        shard, noise = self._noises[random.integers(len(self._noises))]
        return augment.stretch_to(shard.audio(noise), count, random)

    # ---- both

    def _window(
        self,
        clean: NDArray[np.float32],
        heard: NDArray[np.float32],
        skipped: int,
        history: list[int],
        tokens: list[int],
        due: list[float],
    ) -> Window:
        """A stream's running maximum is that of all that it heard, also before the window."""
        mel = log_mel(torch.from_numpy(heard), self._n_mels)
        known = log_power(torch.from_numpy(clean[skipped:]), self._n_mels)
        first = skipped // HOP_LENGTH
        return Window(mel[first : first + MELS], scaled(known, known.max()), history, tokens, due)


def _hours(members: list[tuple[Shard, Utterance]]) -> float:
    return sum(utterance.duration_s for _, utterance in members) / 3600
