"""Many clips through the recogniser that the server runs, every slot always busy."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from benchmarks.speech_tars import Clip
from benchmarks.trace import Trace
from voicewire.asr.events import Flushed, Transcript
from voicewire.asr.settings import StreamSettings
from voicewire.asr.transcriber import BatchTranscriber

_MOST_IDLE_STEPS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One clip to be transcribed as a stream of its own; `load` decodes it when its turn has come."""

    settings: StreamSettings
    load: Callable[[], Clip]
    tag: object = None


@dataclass(slots=True, eq=False)
class _Running:
    job: Job
    clip: Clip
    trace: Trace = field(default_factory=Trace)


def transcribe_jobs(transcriber: BatchTranscriber, jobs: Iterable[Job]) -> Iterator[tuple[Job, Clip, Trace]]:
    """Gives each job with its clip and what was said of it as it is done, in no particular order.

    Each clip is pushed whole and flushed, which is a stream that ends: any cutting gives the same looks, and each
    says how much audio it had heard.
    """
    waiting = iter(jobs)
    running: dict[int, _Running] = {}
    more, idle = True, 0
    while more or running:
        while more and transcriber.free_slots:
            job = next(waiting, None)
            if job is None:
                more = False
                break
            slot = transcriber.open(job.settings)
            running[slot] = _Running(job, job.load())
            transcriber.push(slot, running[slot].clip.samples)
            transcriber.flush(slot)
        stepped = transcriber.step()
        idle = 0 if stepped else idle + 1
        if idle > _MOST_IDLE_STEPS:
            raise RuntimeError(
                f"no Flushed after {_MOST_IDLE_STEPS} idle steps: the recogniser has lost a flush"
            )
        for slot, events in stepped.items():
            run = running[slot]
            for event in events:
                if isinstance(event, Transcript):
                    run.trace.see(event)
            if any(isinstance(event, Flushed) for event in events):
                transcriber.close(slot)
                del running[slot]
                yield run.job, run.clip, run.trace
