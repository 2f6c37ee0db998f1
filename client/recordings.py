"""Which files a batch is to transcribe, and where their results go."""

import glob
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voicewire.client.audio_files import STDIN, open_audio
from voicewire.client.errors import AudioFileError, CommandError
from voicewire.streaming.subtitles.writers import SubtitleFormat

# What is taken from a folder; a file that is named is tried whatever its suffix.
_SUFFIXES = """
    aac ac3 aif aiff alac amr ape au avi caf dts eac3 flac flv gsm m2ts m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg
    mpg mts oga ogg ogv opus ra rm spx ts tta voc w64 wav weba webm wma wmv wv 3gp 3g2
"""
SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording.

    Attributes:
        path: the file, or ``-``.
        name: as it is shown.
        results: path of its results without their suffix; None for standard input when no folder is named.
    """

    path: str
    name: str
    results: Path | None

    def result_path(self, form: SubtitleFormat) -> Path | None:
        return None if self.results is None else self.results.with_name(f"{self.results.name}.{form.value}")

    def duration_s(self, track: int | None = None) -> float | None:
        """As the file states it; 0 where it cannot be read, None where it does not say."""
        if self.path == STDIN:
            return None
        try:
            with open_audio(self.path, track=track) as audio:
                return audio.duration_s
        except AudioFileError:
            return 0.0


def find_recordings(names: Iterable[str], output: Path | None = None) -> list[Recording]:
    """The recordings that are named, and those in the folders that are.

    A file twice named is taken once. Two files whose results would be one keep their whole names (``talk.wav.txt``
    and ``talk.mp3.txt``), and are numbered where that is not enough.

    Args:
        names: files, folders, patterns (``talks/**/*.mp4``), or ``-``.
        output: folder of the results, in which a folder's tree is kept; None is beside each recording.

    Raises:
        CommandError: a folder holds no recording, or nothing matches a pattern.
    """
    found = {file.resolve() if name != STDIN else file: (name, file) for name, file in _files(names)}
    plain = [_results(name, file, output) for name, file in found.values()]
    often = Counter(plain)
    taken: set[Path] = set()
    recordings = []
    for (_, file), path in zip(found.values(), plain, strict=True):
        if str(file) == STDIN:
            recordings.append(Recording(STDIN, "standard input", None if output is None else path))
            continue
        unique = _unique(path.with_name(file.name) if often[path] > 1 else path, taken)
        taken.add(unique)
        recordings.append(Recording(str(file), str(file), unique))
    return recordings


def _files(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each file with the name by which it was asked for."""
    for name in itertools.chain.from_iterable(map(_matching, names)):
        path = Path(name)
        if name == STDIN or not path.is_dir():
            yield name, path
            continue
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise CommandError(f"the folder {name} holds no recordings")
        yield from ((name, file) for file in files)


def _matching(name: str) -> list[str]:
    """What a pattern stands for, where the shell did not say; any other name itself."""
    if Path(name).exists() or not glob.has_magic(name):
        return [name]
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise CommandError(f"nothing matches {name}")
    return found


def _results(name: str, file: Path, output: Path | None) -> Path:
    """Where the results go if nothing else goes there."""
    if name == STDIN:
        return (output or Path()) / "stdin"
    if output is None:
        return file.with_name(file.stem)
    return output / (file.parent.relative_to(name) if Path(name).is_dir() else "") / file.stem


def _unique(path: Path, taken: set[Path]) -> Path:
    if path not in taken:
        return path
    return next(
        numbered
        for count in itertools.count(2)
        if (numbered := path.with_name(f"{path.name}-{count}")) not in taken
    )
