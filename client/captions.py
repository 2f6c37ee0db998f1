"""Captions on a terminal: what a stream says, as it grows."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from voicewire.streaming.messages import WordItem
from voicewire.streaming.subtitles.transcripts import TranscriptBuilder

# Lines of the terminal that are left to the status and to what stood there before.
SPARE_LINES = 3
# Before what was heard once more.
REFINED = "~ "
# Characters of an utterance that a line of a log shows: its end, where the news is.
LOG_WIDTH = 100


class CaptionView(Protocol):
    """A way of showing a transcript that grows; a context manager around the time while it does."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, transcript: TranscriptBuilder, heard_s: float, status: str) -> None:
        """The transcript as it stands after `heard_s` seconds of audio; `status` says how the stream does."""

    def show_refined(self, text: str) -> None:
        """What a stretch was found to be when it was heard once more."""


def caption_text(words: Sequence[WordItem], tail: Sequence[WordItem]) -> Text:
    """Committed words bold, the tail dim."""
    text = Text("".join(word.word for word in words).lstrip(), style="bold")
    tail_text = "".join(word.word for word in tail)
    return text + Text(tail_text if words else tail_text.lstrip(), style="not bold dim")


class LiveView:
    """For a terminal: utterances that are over scroll up, the one under way is rewritten in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._transcript = TranscriptBuilder()
        self._printed = 0

    def __enter__(self) -> Self:
        self._live.start()
        self._live.update(Text("listening", style="dim"), refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was committed stays on the screen."""
        self._live.stop()
        self._print_finished()
        if self._transcript.words:
            self._console.print(caption_text(self._transcript.words, []))

    def show(self, transcript: TranscriptBuilder, heard_s: float, status: str) -> None:
        self._transcript = transcript
        self._print_finished()
        self._live.update(self._newest(transcript, f"{heard_s:6.1f} s  {status}"), refresh=True)

    def _print_finished(self) -> None:
        for segment in self._transcript.finished[self._printed :]:
            self._console.print(caption_text(segment.words, []))
        self._printed = len(self._transcript.finished)

    def _newest(self, transcript: TranscriptBuilder, status: str) -> RenderableType:
        lines = caption_text(transcript.words, transcript.tail).wrap(self._console, self._console.width)
        shown = lines[-max(1, self._console.height - SPARE_LINES) :]
        return Group(*shown, Text(status, style="dim", overflow="ellipsis", no_wrap=True))

    def show_refined(self, text: str) -> None:
        """Above what is rewritten, beside the words that scroll up."""
        self._console.print(Text(f"{REFINED}{text}", style="italic dim"))


class PlainView:
    """For a pipe or a file: one line per sentence or utterance, nothing rewritten."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._transcript = TranscriptBuilder()
        self._utterances = 0
        self._words = 0
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_line()

    def show(self, transcript: TranscriptBuilder, heard_s: float, status: str) -> None:
        for segment in transcript.finished[self._utterances :]:
            self._take(segment.words)
            self._end_line()
            self._words = 0
        self._utterances = len(transcript.finished)
        self._take(transcript.words)

    def show_refined(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        self._console.print(f"{REFINED}{text}", markup=False, highlight=False, soft_wrap=True)

    def _take(self, words: Sequence[WordItem]) -> None:
        for word in words[self._words :]:
            # Not before the next word: punctuation may come later than its word.
            if word.word[:1].isspace() and self._line.rstrip("\"'”’").endswith((".", "?", "!")):  # noqa: RUF001
                self._end_line()
            self._line += word.word
        self._words = len(words)

    def _end_line(self) -> None:
        if self._line.strip():
            self._console.print(self._line.strip(), markup=False, highlight=False, soft_wrap=True)
        self._line = ""


class LogView:
    """For a log: one line whenever the text has changed, with the tail in brackets."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every line is out already."""

    def show(self, transcript: TranscriptBuilder, heard_s: float, status: str) -> None:
        words = "".join(word.word for word in transcript.words).strip()
        tail = "".join(word.word for word in transcript.tail).strip()
        line = f"{words} [{tail}]".strip() if tail else words
        if line and line != self._last:
            newest = line if len(line) <= LOG_WIDTH else "..." + line[-LOG_WIDTH:]
            self._console.print(f"{heard_s:6.1f} s  {newest}", markup=False, highlight=False, soft_wrap=True)
        self._last = line

    def show_refined(self, text: str) -> None:
        """A line of its own."""
        self._console.print(f"{REFINED}{text}", markup=False, highlight=False, soft_wrap=True)


def view_for(console: Console) -> CaptionView:
    """The one that fits where the output goes."""
    return LiveView(console) if console.is_terminal else PlainView(console)
