"""What happens to speech between a mouth and a server: rooms, noise, telephones, codecs, levels, faster talkers.

Each takes float32 samples, shape = (n,), at 16 kHz and a random generator, and gives samples of the same length
(`speed` excepted). None moves a word in time (`speed` excepted).
"""

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from voicewire.asr.settings import FRAME_SAMPLES, SAMPLE_RATE

Samples = NDArray[np.float32]
Random = np.random.Generator
_TELEPHONE_HZ = 8_000
_MU = 255.0
# libsndfile's codecs, and its compression levels for 8 to 33 kbit/s; none of them delays
_CODECS = (("OGG", "OPUS", 0.9, 1.0), ("OGG", "VORBIS", 0.6, 1.0), ("MP3", "MPEG_LAYER_III", 0.6, 0.95))


def speed(samples: Samples, factor: float) -> Samples:
    """Played `factor` times as fast, pitch and all: another speaker, nearly."""
    rate = round(SAMPLE_RATE * factor)
    return np.asarray(soxr.resample(samples, rate, SAMPLE_RATE, quality="MQ"), dtype=np.float32)


def room(samples: Samples, random: Random) -> Samples:
    """A room's echoes: the direct sound and a tail of noise that dies away (after Polack's model)."""
    decay_s = random.uniform(0.12, 0.7)
    length = int(decay_s * SAMPLE_RATE)
    first = int(random.uniform(0.002, 0.02) * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    tail = random.standard_normal(length) * 10.0 ** (-3.0 * time / decay_s)
    tail[:first] = 0.0
    tail *= np.sqrt(10.0 ** (random.uniform(-9.0, 6.0) / 10.0) / np.sum(tail**2))  # echoes to direct sound
    tail[0] = 1.0
    return _same_power(_convolve(samples, tail.astype(np.float32)), samples)


def noise(samples: Samples, background: Samples, snr_db: float) -> Samples:
    """With another sound of the same length in the background.

    The ratio is against the loud parts of the speech, so that pauses do not count.
    """
    signal = np.sqrt(np.quantile(_powers(samples), 0.9))
    other = np.sqrt(np.mean(background**2))
    if signal == 0.0 or other == 0.0:
        return samples
    gain = signal / other * 10.0 ** (-snr_db / 20.0)
    return (samples + gain * background).astype(np.float32)


def telephone(samples: Samples, random: Random) -> Samples:
    """Eight kilohertz, a telephone's band, mu-law."""
    narrow = soxr.resample(samples, SAMPLE_RATE, _TELEPHONE_HZ, quality="MQ")
    spectrum = np.fft.rfft(narrow)
    frequencies = np.fft.rfftfreq(len(narrow), 1 / _TELEPHONE_HZ)
    spectrum[frequencies < random.uniform(150, 350)] = 0.0
    spectrum[frequencies > random.uniform(3300, 3900)] = 0.0
    narrow = np.clip(np.fft.irfft(spectrum, len(narrow)), -1, 1)
    code = np.sign(narrow) * np.log1p(_MU * np.abs(narrow)) / np.log1p(_MU)
    code = np.round(code * 127) / 127
    narrow = (np.sign(code) * np.expm1(np.abs(code) * np.log1p(_MU)) / _MU).astype(np.float32)
    return _fit(soxr.resample(narrow, _TELEPHONE_HZ, SAMPLE_RATE, quality="MQ"), len(samples))


def codec(samples: Samples, random: Random) -> Samples:
    """Through a lossy codec at a low bitrate."""
    file = io.BytesIO()
    kind, subtype, least, most = _CODECS[random.integers(len(_CODECS))]
    level = random.uniform(least, most)
    # libsndfile's encoders take levels outside of full scale badly
    loudest = max(1.0, float(np.abs(samples).max()))
    soundfile.write(
        file, samples / loudest, SAMPLE_RATE, format=kind, subtype=subtype, compression_level=level
    )
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return _fit(decoded * loudest, len(samples))


def tilt(samples: Samples, random: Random) -> Samples:
    """A microphone's colour: a smooth random curve over frequency, within 9 dB."""
    knots = random.uniform(-9.0, 9.0, 6)
    spectrum = np.fft.rfft(samples)
    curve = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, len(knots)), knots)
    return np.fft.irfft(spectrum * 10.0 ** (curve / 20.0), len(samples)).astype(np.float32)


def colored(count: int, random: Random) -> Samples:
    """Noise between white and brown, of unit power."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1.0) ** random.uniform(0.0, 1.0)
    made = np.fft.irfft(spectrum, count)
    return (made / np.sqrt(np.mean(made**2))).astype(np.float32)


def stretch_to(samples: Samples, count: int, random: Random) -> Samples:
    """`count` samples out of a sound: a part of it, or it again and again."""
    if len(samples) >= count:
        start = int(random.integers(len(samples) - count + 1))
        return samples[start : start + count]
    times = count // len(samples) + 2
    start = int(random.integers(len(samples)))
    return np.tile(samples, times)[start : start + count]


def _convolve(samples: Samples, response: Samples) -> Samples:
    size = 1 << (len(samples) + len(response) - 1).bit_length()
    product = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(samples)].astype(np.float32)


def _powers(samples: Samples) -> NDArray[np.float32]:
    """Of pieces of 20 ms."""
    whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
    if whole == 0:
        return np.zeros(1, np.float32)
    return np.asarray(np.mean(samples[:whole].reshape(-1, FRAME_SAMPLES) ** 2, axis=1), np.float32)


def _same_power(samples: Samples, model: Samples) -> Samples:
    power = float(np.mean(samples**2))
    return samples * np.float32(np.sqrt(np.mean(model**2) / power)) if power > 0 else samples


def _fit(samples: Samples, count: int) -> Samples:
    return np.pad(samples[:count], (0, max(0, count - len(samples)))).astype(np.float32)
