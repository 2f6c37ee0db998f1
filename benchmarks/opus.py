"""Speech through Opus (RFC 6716) and back, by the encoder that FFmpeg brings, as `opusenc` would code it."""

import io

import av
import numpy as np
import soundfile

from benchmarks.speech_tars import SAMPLE_RATE


def through_opus(samples: np.ndarray, kbps: float) -> tuple[np.ndarray, int]:
    """What an Opus file holds of the speech, and its size.

    Variable bitrate, packets of 20 ms, tuned for speech. The bitrate asked for is a wish, which libopus misses at
    the low end by a tenth, so the packets are counted.

    Args:
        samples: float32 of shape (samples,), mono, 16 kHz.
        kbps: the bitrate asked for.

    Returns:
        Samples of the same shape, in step with those given, and the bits of all packets without their container.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as ogg:
        stream = ogg.add_stream(
            "libopus", rate=SAMPLE_RATE, layout="mono", options={"application": "voip", "vbr": "on"}
        )
        stream.bit_rate = round(1000 * kbps)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        packets = [*stream.encode(frame), *stream.encode(None)]
        ogg.mux(packets)
        bits = 8 * sum(packet.size for packet in packets)
    file.seek(0)
    heard, rate = soundfile.read(file, dtype="float32")
    if rate != SAMPLE_RATE or len(heard) != len(samples):
        raise RuntimeError(
            f"{len(heard)} samples at {rate} Hz came back from {len(samples)} at {SAMPLE_RATE}"
        )
    return heard, bits
