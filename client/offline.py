"""Recordings of any length through unmodified Whisper: their passages, channel by channel, go to the workers."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from voicewire.client.audio_files import AudioFile, Block
from voicewire.client.local import DETECT, SAMPLE_RATE, Heard, ModelChoice, Wanted, server_packages, word_item
from voicewire.client.workers import Workers
from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript, segment_of
from voicewire.streaming.subtitles.turns import merge

if TYPE_CHECKING:
    from voicewire.asr.events import Word
    from voicewire.asr.offline import Task, Transcription
    from voicewire.asr.passages import PassageClock
    from voicewire.asr.voice_activity import VoiceActivity


class Offline:
    """The most accurate way; a `LocalTranscriber`.

    Args:
        workers: how many processes transcribe; 0 is a thread of this one, for programs of one's own.

    Raises:
        MissingPackageError: this is a bare install.
        CommandError: the model cannot be had.
    """

    def __init__(
        self, choice: ModelChoice | None = None, wanted: Wanted | None = None, workers: int = 0
    ) -> None:
        with server_packages():
            from voicewire.asr.voice_activity import VoiceActivity

            self._voice = VoiceActivity()
        self._wanted = wanted or Wanted()
        self._workers = Workers(choice or ModelChoice(), workers)
        try:
            self._workers.load(_code(self._wanted), _task(self._wanted))
        except BaseException:
            self._workers.kill()
            raise

    def transcribe(self, audio: AudioFile, heard: Heard = lambda _: None) -> TimedTranscript:
        names = self._wanted.speakers_of(audio)
        count = len(names) or 1
        with server_packages():
            lanes = [
                _Lane(self._workers, self._wanted, self._voice, audio, lambda seconds: heard(seconds / count))
                for _ in range(count)
            ]
            for block in audio.channel_blocks() if names else (mixed[None] for mixed in audio.blocks()):
                for lane, samples in zip(lanes, block, strict=True):
                    lane.push(samples)
            transcripts = [lane.finish() for lane in lanes]
        return merge(transcripts, names) if names else transcripts[0]

    def close(self) -> None:
        self._workers.close()

    def kill(self) -> None:
        self._workers.kill()


class _Lane:
    """One channel of one recording, on its way through the workers."""

    def __init__(
        self, workers: Workers, wanted: Wanted, voice: "VoiceActivity", audio: AudioFile, heard: Heard
    ) -> None:
        from voicewire.asr.passages import Passages
        from voicewire.asr.resampler import Resampler

        self._workers = workers
        self._task, self._language = _task(wanted), _code(wanted)
        self._heard = heard
        self._resampler = Resampler(audio.sample_rate, SAMPLE_RATE)
        self._passages = Passages(voice, skip_silence=wanted.skip_silence)
        self._handed: list[tuple[PassageClock, Callable[[], Transcription]]] = []
        self._until_s = 0.0
        self._samples = 0

    def push(self, samples: Block) -> None:
        """Takes more of the channel, (any number,) at the file's rate, and waits while the workers are behind."""
        self._take(self._resampler.push(samples))

    def finish(self) -> TimedTranscript:
        """Hands over what is left, and waits for all the words."""
        self._take(self._resampler.flush(), last=True)
        segments: list[Segment] = []
        for clock, words_of in self._handed:
            transcription = words_of()
            self._language = self._language or transcription.language
            segments += [
                segment_of([_placed(word, clock) for word in segment.words])
                for segment in transcription.segments
                if segment.words
            ]
        language = self._language or ""  # where nothing was said, none was heard
        return TimedTranscript(language, self._samples / SAMPLE_RATE, tuple(segments), self._task)

    def _take(self, samples: Block, *, last: bool = False) -> None:
        self._samples += len(samples)
        passages = self._passages.push(samples)
        if last:
            passages += self._passages.flush()
        for passage in passages:
            if self._language is None and self._handed:
                # That of the first passage, which is speech, is the language of the whole.
                self._language = self._handed[0][1]().language
            pace = (passage.until_s - self._until_s) / passage.duration_s
            self._until_s = passage.until_s
            words_of = self._workers.transcribe(
                passage.samples,
                self._language,
                self._task,
                lambda seconds, pace=pace: self._heard(pace * seconds),  # type: ignore[misc]
            )
            self._handed.append((passage.clock, words_of))


def _task(wanted: Wanted) -> "Task":
    return "translate" if wanted.translate else "transcribe"


def _code(wanted: Wanted) -> str | None:
    """The language as Whisper takes it."""
    return None if wanted.language == DETECT else wanted.language


def _placed(word: "Word", clock: "PassageClock") -> WordItem:
    """The word at its time in the recording."""
    start_s, end_s = clock.span(word.start_s, word.end_s)
    return word_item(word).model_copy(update={"start": start_s, "end": end_s, "emitted": end_s})
