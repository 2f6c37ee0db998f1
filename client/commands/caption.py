"""`voicewire caption`: live captions in the terminal, of a file, a pipe or a microphone."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from voicewire.client.address import DEFAULT_URL
from voicewire.client.audio_files import STDIN, open_audio
from voicewire.client.captions import CaptionView, view_for
from voicewire.client.commands.options import (
    ApiKeyOption,
    ChunkOption,
    CommitOption,
    EndpointOption,
    KeytermOption,
    KeytermsOption,
    LanguageOption,
    SpeedOption,
    UrlOption,
    keyterms_of,
)
from voicewire.client.connection import connect
from voicewire.client.delays import DelayMeter
from voicewire.client.errors import CommandError
from voicewire.client.microphone import Microphone
from voicewire.client.playback import AudioSource, Playback
from voicewire.client.stream import Stream
from voicewire.client.tokens import TOKEN_SUFFIX, TokenRecording
from voicewire.streaming.messages import RefinedMessage, Resumed, Warning
from voicewire.streaming.subtitles.transcripts import TranscriptBuilder
from voicewire.streaming.subtitles.writers import SubtitleFormat, render

MICROPHONE = "mic"
# What the protocol takes; anything else is resampled here.
PROTOCOL_RATES = (8_000, 48_000)
# The status tells the delay of so many words.
RECENT_WORDS = 20


def caption(
    source: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-|mic]", help="A file, - for standard input, or mic.", show_default=True
        ),
    ] = MICROPHONE,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    speed: SpeedOption = 1.0,
    chunk_ms: ChunkOption = None,
    commit_ms: CommitOption = None,
    endpoint_ms: EndpointOption = 700,
    language: LanguageOption = "en",
    keyterm: KeytermOption = None,
    keyterms: KeytermsOption = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Hear each utterance once more, unhurried: a better text, dim, and what --save keeps.",
        ),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Keep the captions in a file: .srt, .vtt, .txt or .json."),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1_000, help="The input is raw 16-bit little-endian samples of one channel at this rate."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Which microphone: its number or a part of its name.")
    ] = None,
) -> None:
    """Show live captions: committed words bold, what may still change dim.

    Needs a server (voicewire serve). A file is played at the pace of speech.
    Where the output is no terminal, each sentence is a plain line. Ctrl-C ends
    the audio and waits for the last words; twice, it ends at once.

    [bold]Examples[/]

        voicewire caption mic
        voicewire caption talk.mp4 --save talk.srt
        voicewire caption talk.vwt                         [dim]# a file of tokens, sent as such[/]
        voicewire caption talk.mp4 --speed 0               [dim]# as fast as the server takes it[/]
        arecord -f S16_LE -r 16000 -t raw | voicewire caption - --rate 16000
        voicewire caption mic --url ws://captions.example:8765 --chunk-ms 100
        voicewire caption talk.mp4 --keyterm Kirkland --keyterm "Ada Lovelace" --refine
    """
    form = save_format(save)
    playback = open_playback(source, speed, rate, device)
    console = Console()
    session = CaptionSession(playback, view_for(console))
    try:
        asyncio.run(
            session.run(
                url,
                api_key=api_key,
                language=language,
                chunk_ms=chunk_ms,
                commit_ms=commit_ms,
                endpoint_ms=endpoint_ms,
                keyterms=keyterms_of(keyterm, keyterms),
                refine=refine,
            )
        )
    finally:
        if save is not None and form is not None:
            transcript = session.transcript.finish(language)
            save.write_text(render(transcript, form), encoding="utf-8")
    Console(stderr=True).print(session.summary(), style="dim", highlight=False)


def save_format(save: Path | None) -> SubtitleFormat | None:
    """The format that a file's name asks for. Raises CommandError before anything is heard in vain."""
    if save is None:
        return None
    forms = [form for form in SubtitleFormat if save.name.lower().endswith(f".{form}")]
    if not forms:
        raise CommandError(f"--save {save}: name a file in .{', .'.join(SubtitleFormat)}")
    if not save.parent.is_dir():
        raise CommandError(f"--save {save}: there is no folder {save.parent}")
    return max(forms, key=len)


def open_playback(source: str, speed: float, rate: int | None, device: str | None) -> Playback:
    """What is to be heard. Raises AudioFileError, MicrophoneError or MissingPackageError."""
    if source == MICROPHONE and not Path(source).is_file():
        return Playback(Microphone(device), live=True)
    if source.endswith(TOKEN_SUFFIX):
        return Playback(TokenRecording(source), speed=speed)
    audio: AudioSource = open_audio(source, raw_rate=rate, rates=PROTOCOL_RATES)
    return Playback(audio, speed=speed, live=source == STDIN)


class CaptionSession:
    """Plays audio to a server and shows what comes back."""

    def __init__(self, playback: Playback, view: CaptionView) -> None:
        self.playback = playback
        self.transcript = TranscriptBuilder()
        self.delays = DelayMeter(playback.since_spoken)
        self._view = view

    async def run(
        self,
        url: str,
        *,
        api_key: str | None = None,
        language: str = "en",
        chunk_ms: int | None = None,
        commit_ms: int | None = None,
        endpoint_ms: int = 700,
        keyterms: Sequence[str] = (),
        refine: bool = False,
    ) -> None:
        """Until the audio is over and its last word has come. Raises ClientError."""
        async with connect(
            url,
            api_key=api_key,
            encoding=self.playback.source.encoding,
            sample_rate=self.playback.source.sample_rate,
            language=language,
            chunk_ms=chunk_ms,
            commit_ms=commit_ms,
            endpoint_ms=endpoint_ms,
            keyterms=keyterms,
            refine=refine,
        ) as stream:
            self._listen_for_the_end()
            with self._view:
                async for event in stream.feed(self.playback.pieces()):
                    self.delays.add(event)
                    self.transcript.add(event)
                    if isinstance(event, RefinedMessage):
                        self._view.show_refined(event.text)
                    note = f"  {event.message}" if isinstance(event, Warning) else ""
                    note += "  reconnected, nothing lost" if isinstance(event, Resumed) else ""
                    self._view.show(self.transcript, self.playback.position_s, self._status(stream) + note)

    def summary(self) -> str:
        """One line about the whole."""
        count = len(self.delays.words)
        text = f"{self.playback.position_s:.1f} s of audio, {count} words"
        return text + (f", {self._delays(count)}" if count and self.playback.is_paced else "")

    def _status(self, stream: Stream) -> str:
        text = self._delays(RECENT_WORDS) if self.delays.words and self.playback.is_paced else ""
        return text + (f"  {stream.backlog_s:.1f} s behind" if stream.backlog_s > 2.0 else "")

    def _delays(self, count: int) -> str:
        recent = self.delays.words[-count:]
        shown, settled = median(word.shown_s for word in recent), median(word.settled_s for word in recent)
        return f"shown after {shown:.2f} s, settled after {settled:.2f} s"

    def _listen_for_the_end(self) -> None:
        """The first Ctrl-C ends the audio; from then on it is the ordinary one."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.remove_signal_handler(signal.SIGINT)
            self.playback.stop()

        loop.add_signal_handler(signal.SIGINT, stop)
