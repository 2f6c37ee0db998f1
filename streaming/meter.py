"""What is measured of one session, and of the engine's turns: from what they do already to the instruments.

Nothing here waits, and nothing asks the model for anything.
"""

from collections.abc import Iterable, Mapping

from voicewire.asr.events import DecoderReset, Event, Flushed, Transcript
from voicewire.asr.settings import SAMPLE_RATE
from voicewire.streaming.commands import Command, Encoded, FlushStream, OpenStream, Part, Progress, Report
from voicewire.streaming.metrics import Metrics


class SessionMeter:
    """Measures one session, in its event loop. Times are seconds of that loop's clock."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._received_s = 0.0
        self._parts: tuple[Part, ...] = ()
        self._processed_samples = dict.fromkeys(Part, 0)
        self._flushes: dict[tuple[Part, str], float] = {}

    def began(self) -> None:
        """The session has its seat."""
        self._metrics.sessions.inc()

    def goes_on(self, received_s: float, processed_samples: int) -> None:
        """The session began in another process, where so much was counted."""
        self._metrics.returned.inc()
        self._received_s = received_s
        self._processed_samples[Part.WORDS] = processed_samples
        self._parts = (Part.WORDS,)

    def asked(self, commands: Iterable[Command], received_s: float, now: float) -> None:
        """The session sends commands, after so much audio."""
        for command in commands:
            if isinstance(command, FlushStream):
                self._flushes |= {(part, command.tag): now for part in self._parts}
            elif isinstance(command, OpenStream):
                self._parts = _parts(command)
        self._metrics.received.inc(received_s - self._received_s)
        self._received_s = received_s

    def told(self, report: Report, received_s: float, now: float) -> None:
        """The session hears a report, when it has received so much audio."""
        if isinstance(report, Progress):
            self._processed(Part.WORDS, report.processed_samples)
            for event in report.events:
                self._happened(event, received_s, now)
        elif isinstance(report, Encoded):
            self._processed(Part.TOKENS, report.processed_samples)
            self._metrics.tokens.inc(sum(tokens.codes.size for tokens in report.tokens))
            for tag in report.flushed:
                self._answered(Part.TOKENS, tag, now)

    def ended(self, how: str, seconds: float) -> None:
        """The session is over: an error's code, `done` or `client_left`."""
        self._metrics.ended.labels(how).inc()
        self._metrics.lasted.observe(seconds)

    def _happened(self, event: Event, received_s: float, now: float) -> None:
        match event:
            case Transcript():
                self._metrics.words.inc(len(event.words))
                for word in event.words:
                    self._metrics.word_delay.observe(max(0.0, received_s - word.end_s))
            case DecoderReset():
                self._metrics.decoder_resets.inc()
            case Flushed(tag=str(tag)):
                self._answered(Part.WORDS, tag, now)

    def _processed(self, part: Part, samples: int) -> None:
        self._metrics.processed[part].inc((samples - self._processed_samples[part]) / SAMPLE_RATE)
        self._processed_samples[part] = samples

    def _answered(self, part: Part, tag: str, now: float) -> None:
        asked = self._flushes.pop((part, tag), None)
        if asked is not None:
            self._metrics.flush[part].observe(now - asked)


class TurnMeter:
    """Measures one recogniser's turns; its methods are for the thread that takes them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._stages: dict[str, float] = {}

    def loaded(self, stage_seconds: Mapping[str, float]) -> None:
        """There is a new recogniser, which has been warmed up."""
        self._stages = dict(stage_seconds)

    def stepped(self, seconds: float, sessions: int, stage_seconds: Mapping[str, float]) -> None:
        """The recogniser made a step with so many sessions; `stage_seconds` grow from step to step."""
        self._metrics.turn.observe(seconds)
        self._metrics.batch.observe(sessions)
        for stage, histogram in self._metrics.stages.items():
            histogram.observe(stage_seconds.get(stage, 0.0) - self._stages.get(stage, 0.0))
        self._stages = dict(stage_seconds)

    def failed(self) -> None:
        """A step failed."""
        self._metrics.faults.inc()


def _parts(stream: OpenStream) -> tuple[Part, ...]:
    """What answers a flush of this stream."""
    wanted = {Part.WORDS: stream.settings, Part.TOKENS: stream.tokens}
    return tuple(part for part, settings in wanted.items() if settings is not None)
