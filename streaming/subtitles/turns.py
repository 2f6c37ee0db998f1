"""Who said what: the transcripts of a recording's channels put together, and the cues of several speakers."""

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from voicewire.streaming.subtitles.cues import Cue, CueRules, lay_out
from voicewire.streaming.subtitles.transcripts import Segment, TimedTranscript, segment_of

# In a shorter pause nobody's words are parted, though another's begin in it: two people speak at once.
SHORTEST_TURN_PAUSE_S = 0.3


def merge(channels: Sequence[TimedTranscript], speakers: Sequence[str]) -> TimedTranscript:
    """One transcript of a recording that has a channel for each speaker.

    Segments come in the order in which they begin. One that spans another speaker's answer is parted there.

    Args:
        channels: the transcript of each, on one clock.
        speakers: the name of each.
    """
    starts = [[word.start for word in channel.words] for channel in channels]
    segments = []
    for number, (channel, speaker) in enumerate(zip(channels, speakers, strict=True)):
        others = sorted(itertools.chain.from_iterable(starts[:number] + starts[number + 1 :]))
        for segment in channel.segments:
            segments += [replace(part, speaker=speaker) for part in _parts(segment, others)]
    segments.sort(key=lambda segment: segment.start_s)
    longest = max(channels, key=lambda channel: len(channel.words))
    duration_s = max(channel.duration_s for channel in channels)
    return TimedTranscript(longest.language, duration_s, tuple(segments), longest.task)


def _parts(segment: Segment, others: Sequence[float]) -> Iterator[Segment]:
    """The segment, parted in each pause in which a word of another speaker begins."""
    held = list(segment.words[:1])
    for word in segment.words[1:]:
        paused_s = word.start - held[-1].end
        answer = bisect_left(others, held[-1].end)
        if paused_s >= SHORTEST_TURN_PAUSE_S and answer < len(others) and others[answer] < word.start:
            yield segment_of(held)
            held = []
        held.append(word)
    if held:
        yield segment_of(held)


def lay_out_turns(transcript: TimedTranscript, rules: CueRules, *, labelled: bool) -> list[Cue]:
    """The cues of a transcript, with their speakers where it has any.

    Cues of two speakers overlap only where their words do.

    Args:
        labelled: the first cue of each turn begins with the speaker's name, ``Agent: Hello.``
    """
    if not any(segment.speaker for segment in transcript.segments):
        return lay_out(transcript.words, rules)
    cues: list[Cue] = []
    for speaker, segments in itertools.groupby(transcript.segments, lambda segment: segment.speaker):
        words = [word for segment in segments for word in segment.words]
        if labelled and speaker and words:
            words[0] = words[0].model_copy(update={"word": f" {speaker}: {words[0].word.lstrip()}"})
        cues += [replace(cue, speaker=speaker) for cue in lay_out(words, rules)]
    cues.sort(key=lambda cue: cue.start_s)
    return [*map(_making_room, cues, cues[1:]), *cues[-1:]]


def _making_room(cue: Cue, following: Cue) -> Cue:
    """The cue, which stays for reading only until the next one comes."""
    spoken_s = max(word.end_s for line in cue.words for word in line)
    end_s = min(cue.end_s, max(following.start_s, round(spoken_s, 3)))
    return replace(cue, end_s=end_s) if end_s > cue.start_s else cue
