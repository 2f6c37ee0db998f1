"""The microphone, by the package sounddevice, which the extra `mic` brings."""

from collections.abc import Iterator
from typing import Any

from voicewire.client.audio_files import Block
from voicewire.client.errors import MicrophoneError, MissingPackageError
from voicewire.streaming.messages import Encoding

SAMPLE_RATE = 16_000


class Microphone:
    """The default input, or the one that is named; an `AudioSource` that never ends by itself."""

    encoding: Encoding = "pcm_s16le"
    duration_s: float | None = None

    def __init__(self, device: str | None = None, sample_rate: int = SAMPLE_RATE) -> None:
        sounddevice = load_sounddevice()
        self.sample_rate = sample_rate
        try:
            self._stream: Any = sounddevice.InputStream(
                samplerate=sample_rate, channels=1, dtype="float32", device=_number_or_name(device)
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise MicrophoneError(
                f"no microphone can be opened: {error}. `voicewire doctor` lists the inputs there are"
            ) from error
        self.name = "microphone" if device is None else f"microphone {device}"

    def blocks(self, block_s: float = 0.1) -> Iterator[Block]:
        """The sound as it comes, ``(samples,)`` float32; what was lost because nobody read is lost."""
        with self._stream:
            while True:
                samples, _ = self._stream.read(round(block_s * self.sample_rate))
                yield samples[:, 0].copy()

    def seconds_of(self, block: Block) -> float:
        return len(block) / self.sample_rate

    def close(self) -> None:
        self._stream.close()


def load_sounddevice() -> Any:
    """The package. Raises MissingPackageError or MicrophoneError, which say what to install."""
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "listening to a microphone needs the package sounddevice: pip install 'voicewire[mic]'"
        ) from error
    except OSError as error:
        raise MicrophoneError(
            f"sounddevice finds no PortAudio ({error}): install it, on Debian by apt-get install libportaudio2"
        ) from error
    return sounddevice


def _number_or_name(device: str | None) -> int | str | None:
    return int(device) if device is not None and device.isdigit() else device
