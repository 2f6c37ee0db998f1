"""Audio whose messages need not end where a sample ends, as most protocols allow it."""

from voicewire.streaming.messages import Encoding

_SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}


class WholeSamples:
    """Holds back the bytes of a sample whose rest is still on its way; compressed audio passes as it is."""

    def __init__(self, encoding: Encoding, channels: int = 1) -> None:
        self._width = _SAMPLE_BYTES.get(encoding, 0) * channels or 1
        self._rest = b""

    def cut(self, data: bytes) -> bytes:
        """The whole samples of what came so far, once each."""
        data = self._rest + data
        whole = len(data) - len(data) % self._width
        self._rest = data[whole:]
        return data[:whole]
