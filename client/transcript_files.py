"""A recording's transcript on disk: a file for each format, under its name only when it is whole."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from voicewire.client.errors import CommandError
from voicewire.client.recordings import Recording
from voicewire.streaming.subtitles.transcripts import TimedTranscript
from voicewire.streaming.subtitles.writers import SubtitleFormat, render


class TranscriptFiles:
    """Writes transcripts in some formats, and knows which are there."""

    def __init__(self, formats: Sequence[SubtitleFormat]) -> None:
        self.formats = formats

    def paths(self, recording: Recording) -> list[Path]:
        """Where the recording's transcripts belong; nothing for standard output."""
        return [path for form in self.formats if (path := recording.result_path(form))]

    def are_done(self, recording: Recording) -> bool:
        """Whether all of them are there, and none is older than the recording."""
        paths = self.paths(recording)
        try:
            made = Path(recording.path).stat().st_mtime
            return bool(paths) and all(path.stat().st_mtime >= made for path in paths)
        except OSError:
            return False

    def write(self, recording: Recording, transcript: TimedTranscript) -> None:
        """Raises CommandError where that cannot be."""
        for form in self.formats:
            if path := recording.result_path(form):
                _write(path, render(transcript, form))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"{path} cannot be written ({reason}): name another folder by -o") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
