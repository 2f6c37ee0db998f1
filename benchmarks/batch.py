"""Many clips through the recogniser that the server runs, every slot always busy."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from benchmarks.speech_tars import Clip
from voicewire.asr.events import Flushed, Transcript, Word
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
    words: list[Word] = field(default_factory=list)


def transcribe_jobs(
    transcriber: BatchTranscriber, jobs: Iterable[Job]
) -> Iterator[tuple[Job, Clip, list[Word]]]:
    """Gives each job with its clip and committed words as it is done, in no particular order.

    Each clip is pushed whole and flushed, which is a stream that ends: any cutting gives the same words.
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
            run.words += [word for event in events if isinstance(event, Transcript) for word in event.words]
            if any(isinstance(event, Flushed) for event in events):
                transcriber.close(slot)
                del running[slot]
                yield run.job, run.clip, run.words
