"""How long an assistant waits for the words of a turn: clips at the pace of speech through pipecat, to a server.

    python -m benchmarks.assistant --data TAR... --json OUT [--door native,deepgram,openai] [--limit N]

Each clip, with silence behind it, goes in pieces of 20 ms through a pipeline of pipecat's Silero VAD and a
speech-to-text service: voicewire's own, or pipecat's unmodified one for Deepgram or OpenAI. Counted is from the
moment when the VAD says that the user has stopped, which is 0.2 s after the last speech that it heard, until the
transcript of the turn comes out of the service. A speaker's longer pauses are such moments too.

Server and pipelines share this machine's cores. What OUT holds already is not played again, so that a run may be
made in parts: `--minutes` ends one.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.stt_service import STTService
from pipecat.workers.runner import WorkerRunner
from rich.console import Console

from benchmarks.machine import this_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.marked_section import replace_section
from benchmarks.options import add_limit, speech_parser, wide_console
from benchmarks.percentiles import percentiles
from benchmarks.recogniser import write_report
from benchmarks.served import served
from benchmarks.speech_tars import SAMPLE_RATE, Clip, SpeechTar
from benchmarks.word_errors import count_errors, total
from voicewire.client.assistants.pipecat import VoicewireSTTService

DOORS = ("native", "deepgram", "openai")
STOP_S = 0.2
_PIECE_S, _SILENCE_S = 0.02, 1.5
# Sessions that begin together would ask for their words together more often than people do.
_STAGGER_S = 0.7


@dataclass(slots=True)
class Heard:
    """What came of one clip.

    Attributes:
        delays_s: of each turn that brought words, from the VAD's stop to its transcript.
        stops: how often the VAD said that the user had stopped.
        text: all final transcripts.
        reference: what was said.
    """

    reference: str
    delays_s: list[float] = field(default_factory=list)
    stops: int = 0
    text: str = ""


class Listener(FrameProcessor):
    """The rest of the assistant, which wants to know what the user said."""

    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard
        self._stopped_at: float | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._heard.stops += 1
            self._stopped_at = frame.timestamp
        elif isinstance(frame, TranscriptionFrame):
            self._heard.text += f" {frame.text}"
            # Deepgram's service tells words one by one, and says which message answers its question for the rest.
            if self._stopped_at is not None and getattr(frame.result, "from_finalize", True):
                self._heard.delays_s.append(round(time.time() - self._stopped_at, 4))
                self._stopped_at = None
        await self.push_frame(frame, direction)


def service_at(door: str, url: str) -> STTService:
    """pipecat's service for a door of the server at ``ws://HOST:PORT``."""
    if door == "native":
        return VoicewireSTTService(url=url)
    if door == "deepgram":
        from pipecat.services.deepgram.stt import DeepgramSTTService

        return DeepgramSTTService(api_key="any", base_url=url)
    from pipecat.services.openai.stt import OpenAIRealtimeSTTService

    return OpenAIRealtimeSTTService(api_key="any", base_url=f"{url}/v1/realtime")


async def play(clip: Clip, service: STTService) -> Heard:
    """One clip through a pipeline of its own, at the pace of speech."""
    heard = Heard(clip.text)
    vad = VADProcessor(vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=STOP_S)))
    worker = PipelineWorker(
        Pipeline([vad, service, Listener(heard)]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE),
        cancel_on_idle_timeout=False,
    )
    started = asyncio.Event()
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), speak(worker, clip, started))
    return heard


async def speak(worker: PipelineWorker, clip: Clip, started: asyncio.Event) -> None:
    """The microphone."""
    silence = np.zeros(round(_SILENCE_S * SAMPLE_RATE), dtype=np.float32)
    samples = np.concatenate([clip.samples, silence])
    audio = (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    step = round(_PIECE_S * SAMPLE_RATE) * 2
    await started.wait()
    began = time.monotonic()
    for number, start in enumerate(range(0, len(audio), step), 1):
        await asyncio.sleep(began + number * _PIECE_S - time.monotonic())
        await worker.queue_frame(InputAudioRawFrame(audio[start : start + step], SAMPLE_RATE, 1))
    await worker.queue_frame(EndFrame())


async def play_all(
    url: str, door: str, clips: Sequence[Clip], sessions: int, until: float, found: dict[str, Any]
) -> None:
    """Plays clips, so many at a time, until the clock (`time.monotonic`) says `until`; puts each into `found`."""
    places = asyncio.Semaphore(sessions)

    async def one(clip: Clip) -> None:
        async with places:
            if time.monotonic() < until:
                found[clip.key] = asdict(await play(clip, service_at(door, url)))

    async with asyncio.TaskGroup() as group:
        for number, clip in enumerate(clips):
            group.create_task(one(clip))
            if number < sessions:
                await asyncio.sleep(_STAGGER_S)


def figures(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of one door: the delays in seconds, and the words."""
    errors = total([count_errors(clip["reference"], clip["text"]) for clip in found.values()])
    return {
        "clips": len(found),
        "stops": sum(clip["stops"] for clip in found.values()),
        "delay_s": percentiles([delay for clip in found.values() for delay in clip["delays_s"]]),
        "word_error_rate": errors.rate,
    }


def table(doors: dict[str, dict[str, Any]]) -> str:
    """In Markdown; of doors through which words have come."""
    headings = (
        "door",
        "turns",
        "median s",
        "P95 s",
        "P99 s",
        "P99 from the end of speech, s",
        "word errors %",
    )
    rows = []
    for door, found in doors.items():
        delay = found["delay_s"]
        if delay["count"]:
            shown = [delay["median"], delay["p95"], delay["p99"], delay["p99"] + STOP_S]
            errors = f"{100 * found['word_error_rate']:.1f}"
            rows.append((door, str(delay["count"]), *(f"{value:.2f}" for value in shown), errors))
    return markdown_table(headings, rows, left=1)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = speech_parser("assistant", __doc__)
    parser.add_argument(
        "--door", default="native", help="one or more of native, deepgram, openai, with commas"
    )
    add_limit(parser)
    parser.add_argument(
        "--longest", type=float, default=8.0, metavar="S", help="clips of at most so many seconds"
    )
    parser.add_argument("--sessions", type=int, default=1, metavar="N", help="assistants at one time")
    parser.add_argument("--minutes", type=float, default=60.0, help="no clip begins later")
    parser.add_argument(
        "--markdown", type=Path, help="write the table into this file's section `assistant` too"
    )
    args = parser.parse_args(arguments)
    args.door = args.door.split(",")
    if unknown := set(args.door) - set(DOORS):
        parser.error(f"no such door: {', '.join(sorted(unknown))}")
    return args


def chosen(paths: Sequence[Path], longest_s: float, limit: int | None) -> list[Clip]:
    """The clips that are short enough, of so many of each tar."""
    tars = map(SpeechTar, paths)
    return [tar.read(key) for tar in tars for key in tar.keys(limit) if tar.reference(key)[1] <= longest_s]


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse_arguments(arguments)
    logger.remove()
    console: Console = wide_console()
    until = time.monotonic() + 60 * args.minutes
    clips = chosen(args.data, args.longest, args.limit)
    held: dict[str, Any] = json.loads(args.json.read_text())["heard"] if args.json.exists() else {}
    left = {door: [clip for clip in clips if clip.key not in held.get(door, {})] for door in args.door}
    if any(left.values()):
        with served() as url:
            for door, missing in left.items():
                found = held.setdefault(door, {})
                asyncio.run(play_all(url, door, missing, args.sessions, until, found))
    doors = {door: figures(found) for door, found in held.items()}
    write_report(args.json, {"doors": doors, "heard": held}, {"sessions": args.sessions})
    text = table(doors)
    console.print(text)
    if args.markdown:
        replace_section(args.markdown, "assistant", f"{text}\n{this_machine()}\n")


if __name__ == "__main__":
    main()
