"""Decoding: any cutting of the bytes gives the same samples, those of libsndfile and FFmpeg; damage has a name."""

import io
import itertools
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import voicewire.client
from voicewire.streaming.decoding import open_decoder
from voicewire.streaming.errors import DecodingError
from voicewire.streaming.intake import Intake
from voicewire.streaming.messages import Encoding
from voicewire.streaming.ogg import MAX_PACKET_BYTES, OggReader, page_checksum
from voicewire.streaming.opus import MAX_PACKET_BYTES as MAX_OPUS_BYTES

CLIP = Path(voicewire.client.__file__).parent / "clips" / "art-of-printing.opus"
QUICK = settings(max_examples=25, deadline=None)


def decode(encoding: Encoding, pieces: Iterable[bytes], rate: int = 16_000, channels: int = 1) -> np.ndarray:
    decoder = open_decoder(encoding, rate, channels)
    decoded = [samples for piece in pieces for samples in decoder.push(piece)]
    assert all(samples.dtype == np.float32 and samples.ndim == 1 for samples in decoded)
    return np.concatenate([np.empty(0, np.float32), *decoded])


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def packets_of(data: bytes) -> list[bytes]:
    """FFmpeg's own reading of the container."""
    with av.open(io.BytesIO(data)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def samples_of(data: bytes) -> np.ndarray:
    """FFmpeg's own decoding, mono."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(frames)


@pytest.fixture(scope="module")
def speech_opus() -> bytes:
    """Real speech as Ogg Opus, some seconds of it: whole pages, so a stream that stops early."""
    return CLIP.read_bytes()[:40_000]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Three seconds of real speech at 16 kHz."""
    samples = samples_of(CLIP.read_bytes())[: 3 * 48_000]
    return np.ascontiguousarray(samples[::3])


def as_flac(speech: np.ndarray, subtype: str, channels: int, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    both = np.stack([speech, 0.5 * speech], axis=1)[:, :channels]
    soundfile.write(file, both, rate, format="FLAC", subtype=subtype)
    return file.getvalue()


# ---- uncompressed


@pytest.mark.parametrize(
    ("encoding", "subtype"),
    [("pcm_s16le", "PCM_16"), ("pcm_f32le", "FLOAT"), ("mulaw", "ULAW"), ("alaw", "ALAW")],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_pcm_is_what_libsndfile_makes_of_it(
    speech: np.ndarray, encoding: Encoding, subtype: str, channels: int
) -> None:
    both = np.stack([speech, -0.25 * speech], axis=1)[:, :channels]
    file = io.BytesIO()
    soundfile.write(file, both, 8000, format="RAW", subtype=subtype, endian="LITTLE")
    data = file.getvalue()
    raw = {"samplerate": 8000, "channels": channels, "format": "RAW", "subtype": subtype, "endian": "LITTLE"}
    expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True, **raw)[0].mean(axis=1)
    frame = len(data) // len(both)
    pieces = [data[i : i + 37 * frame] for i in range(0, len(data), 37 * frame)]
    np.testing.assert_allclose(decode(encoding, pieces, 8000, channels), expected, atol=1e-7)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_every_g711_code_is_libsndfile_s(encoding: Encoding) -> None:
    codes = bytes(range(256))
    subtype = {"mulaw": "ULAW", "alaw": "ALAW"}[encoding]
    expected, _ = soundfile.read(
        io.BytesIO(codes), dtype="float32", samplerate=8000, channels=1, format="RAW", subtype=subtype
    )
    np.testing.assert_array_equal(decode(encoding, [codes]), expected)


@pytest.mark.parametrize(
    ("encoding", "channels", "size"),
    [("pcm_s16le", 1, 3), ("pcm_s16le", 2, 6), ("pcm_f32le", 1, 6), ("mulaw", 2, 1), ("alaw", 2, 5)],
)
def test_a_sample_cut_in_two_is_refused(encoding: Encoding, channels: int, size: int) -> None:
    with pytest.raises(DecodingError, match="multiples of"):
        decode(encoding, [bytes(size)], channels=channels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(DecodingError, match="finite"):
        decode("pcm_f32le", [np.array([0.0, bad, 0.1], "<f4").tobytes()])


def test_floats_beyond_full_scale_are_clipped() -> None:
    data = np.array([3e38, -7.0, 0.5], "<f4").tobytes()
    np.testing.assert_array_equal(decode("pcm_f32le", [data]), np.array([1.0, -1.0, 0.5], np.float32))


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw", "opus", "ogg_opus", "flac"])
def test_an_empty_message_is_no_audio(encoding: Encoding) -> None:
    assert len(decode(encoding, [b"", b""])) == 0


# ---- Opus


def test_ogg_opus_is_what_ffmpeg_makes_of_the_whole_file() -> None:
    data = CLIP.read_bytes()
    np.testing.assert_allclose(decode("ogg_opus", [data]), samples_of(data), atol=1e-6)


@QUICK
@given(places=st.lists(st.integers(0, 2**31), max_size=60))
def test_ogg_opus_may_be_cut_anywhere(speech_opus: bytes, places: list[int]) -> None:
    whole = decode("ogg_opus", [speech_opus])
    assert len(whole) > 48_000
    np.testing.assert_array_equal(decode("ogg_opus", cut(speech_opus, places)), whole)


def test_ogg_opus_byte_by_byte(speech_opus: bytes) -> None:
    data = speech_opus[:12_000]
    np.testing.assert_array_equal(
        decode("ogg_opus", (data[i : i + 1] for i in range(len(data)))), decode("ogg_opus", [data])
    )


def test_raw_opus_packets_are_the_same_sound_with_its_lead_in(speech_opus: bytes) -> None:
    packets = packets_of(CLIP.read_bytes())[:100]
    raw = decode("opus", packets, rate=16_000)
    assert len(raw) == 100 * 960
    whole = decode("ogg_opus", [speech_opus])
    skip = int.from_bytes(speech_opus[28 + 10 : 28 + 12], "little")
    np.testing.assert_array_equal(raw[skip:], whole[: len(raw) - skip])


def test_chained_ogg_streams_follow_each_other() -> None:
    data = CLIP.read_bytes()
    once = decode("ogg_opus", [data])
    np.testing.assert_array_equal(decode("ogg_opus", [data, data]), np.concatenate([once, once]))


def test_a_whole_container_is_no_opus_packet(speech_opus: bytes) -> None:
    with pytest.raises(DecodingError, match="packet"):
        decode("opus", [bytes([0xFF]) * (MAX_OPUS_BYTES + 1)])
    with pytest.raises(DecodingError, match="packet"):
        decode("opus", [b"\xff\xff\xff", speech_opus])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda data: b"RIFF" + data[4:], "OggS"),
        (lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:], "checksum"),
        (lambda data: data[200:], "OggS"),
    ],
)
def test_a_damaged_ogg_stream_is_named(speech_opus: bytes, change, match: str) -> None:
    with pytest.raises(DecodingError, match=match):
        decode("ogg_opus", [change(speech_opus)])


def test_ogg_of_another_codec_is_named(speech: np.ndarray) -> None:
    file = io.BytesIO()
    soundfile.write(file, speech, 16_000, format="OGG", subtype="VORBIS")
    with pytest.raises(DecodingError, match="no Opus"):
        decode("ogg_opus", [file.getvalue()])


def ogg_page(
    packets: list[bytes], *, flags: int = 0, sequence: int = 0, serial: int = 7, granule: int = 0
) -> bytes:
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    return ogg_page_of(
        lacing, b"".join(packets), flags=flags, sequence=sequence, serial=serial, granule=granule
    )


def ogg_page_of(lacing: bytes, body: bytes, *, flags: int, sequence: int, serial: int, granule: int) -> bytes:
    start = b"OggS\0" + bytes([flags]) + granule.to_bytes(8, "little", signed=True)
    start += serial.to_bytes(4, "little") + sequence.to_bytes(4, "little")
    rest = bytes([len(lacing)]) + lacing + body
    return start + page_checksum(start + bytes(4) + rest).to_bytes(4, "little") + rest


def test_a_packet_may_span_pages() -> None:
    long = bytes(range(256)) * 400
    lacing = b"\xff" * 255
    pages = [ogg_page([b"head"], flags=2, sequence=0)]
    for number in range(1, 2):
        pages.append(ogg_page_of(lacing, long[: 255 * 255], flags=0, sequence=number, serial=7, granule=-1))
    rest = long[255 * 255 :]
    pages.append(ogg_page([rest, b"next"], flags=1, sequence=2))
    reader = OggReader()
    packets = [packet for page in reader.push(b"".join(pages)) for packet in page.packets]
    assert packets == [b"head", long, b"next"]


def test_a_lost_page_costs_the_packet_that_it_cuts() -> None:
    pages = [
        ogg_page([b"head"], flags=2, sequence=0),
        ogg_page_of(b"\xff", b"x" * 255, flags=0, sequence=1, serial=7, granule=-1),
        ogg_page([b"end of another", b"whole"], flags=1, sequence=3),
    ]
    packets = [packet for page in OggReader().push(b"".join(pages)) for packet in page.packets]
    assert packets == [b"head", b"whole"]


def test_a_packet_without_end_is_refused() -> None:
    pages = [ogg_page([b"head"], flags=2)]
    for number in range(1, 3 + MAX_PACKET_BYTES // (255 * 255)):
        flags = 1 if number > 1 else 0
        pages.append(
            ogg_page_of(b"\xff" * 255, bytes(255 * 255), flags=flags, sequence=number, serial=7, granule=-1)
        )
    with pytest.raises(DecodingError, match="no audio needs that"):
        list(OggReader().push(b"".join(pages)))


def test_two_ogg_streams_at_once_are_refused() -> None:
    pages = [ogg_page([b"head"], flags=2, serial=1), ogg_page([b"head"], flags=2, serial=2)]
    with pytest.raises(DecodingError, match="several"):
        list(OggReader().push(b"".join(pages)))


# ---- FLAC


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_is_lossless(speech: np.ndarray, subtype: str, channels: int) -> None:
    data = as_flac(speech, subtype, channels)
    expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0].mean(axis=1)
    decoder = open_decoder("flac", 8000, 1)
    assert decoder.rate is None
    decoded = np.concatenate(list(decoder.push(data)))
    assert decoder.rate == 16_000
    np.testing.assert_allclose(decoded, expected, atol=1e-7)


@QUICK
@given(places=st.lists(st.integers(0, 2**31), max_size=60), stereo=st.booleans())
def test_flac_may_be_cut_anywhere(speech: np.ndarray, places: list[int], stereo: bool) -> None:
    data = as_flac(speech, "PCM_24", 2 if stereo else 1)
    whole = decode("flac", [data])
    assert len(whole) == len(speech)
    np.testing.assert_array_equal(decode("flac", cut(data, places)), whole)


def test_flac_gives_each_frame_with_its_last_byte(speech: np.ndarray) -> None:
    """Not frames later, as a parser that looks for the next frames does."""
    data = as_flac(speech, "PCM_16", 1)
    decoder = open_decoder("flac", 16_000, 1)
    given_at = [i for i in range(len(data)) for _ in decoder.push(data[i : i + 1])]
    assert given_at[-1] == len(data) - 1
    assert len(given_at) == -(-len(speech) // 4096)


def test_flac_with_a_gap_is_refused_soon(speech: np.ndarray) -> None:
    data = as_flac(speech, "PCM_16", 1)
    with pytest.raises(DecodingError, match="damaged or missing"):
        decode("flac", [data[:20_000], data[21_000:], bytes(200_000)])


def test_flac_made_to_look_finished_everywhere_is_refused_soon(speech: np.ndarray) -> None:
    """Zeros after a right checksum keep it right: every byte is a guess, and guesses are bounded."""
    data = as_flac(speech, "PCM_16", 1)
    header = data[: data.rindex(b"\xff\xf8", 0, 20_000)]
    decoder = open_decoder("flac", 16_000, 1)
    with pytest.raises(DecodingError, match="damaged or missing"):
        for _ in decoder.push(header + bytes(100_000)):
            pass


@pytest.mark.parametrize("rate", [96_000, 4_000])
def test_flac_of_another_rate_is_named(speech: np.ndarray, rate: int) -> None:
    with pytest.raises(DecodingError, match="8000 to 48000"):
        decode("flac", [as_flac(speech, "PCM_16", 1, rate)])


def test_what_is_no_flac_is_named() -> None:
    with pytest.raises(DecodingError, match="fLaC"):
        decode("flac", [b"ID3\x04" + bytes(100)])


def test_compressed_silence_is_not_decoded_before_it_is_asked_for() -> None:
    """Ten minutes in some kilobytes: whoever asks for samples can stop."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(600 * 16_000, np.float32), 16_000, format="FLAC", subtype="PCM_16")
    assert len(file.getvalue()) < 100_000
    intake = Intake("flac", 16_000, 1)
    samples = intake.push(file.getvalue())
    next(samples)
    assert intake.received_s < 1


@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from(["opus", "ogg_opus", "flac"]),
    damage=st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), max_size=4),
    places=st.lists(st.integers(0, 2**31), max_size=8),
    junk=st.binary(max_size=200),
)
def test_damage_is_decoded_or_named(
    speech: np.ndarray,
    speech_opus: bytes,
    encoding: Encoding,
    damage: list[tuple[int, int]],
    places: list[int],
    junk: bytes,
) -> None:
    sources = {"flac": as_flac(speech[:16_000], "PCM_16", 1), "ogg_opus": speech_opus[:9000]}
    data = bytearray(sources.get(encoding, packets_of(speech_opus)[5]))
    for place, change in damage:
        data[place % len(data)] ^= change
    try:
        decoded = decode(encoding, [*cut(bytes(data), places), junk])
    except DecodingError:
        return
    assert np.isfinite(decoded).all()
    assert np.abs(decoded).max(initial=0) <= 1


# ---- into the recogniser's clock


@QUICK
@given(
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    sizes=st.lists(st.integers(0, 4000), min_size=1, max_size=30),
    flushes=st.sets(st.integers(0, 30)),
)
def test_the_clock_is_exact_however_audio_is_cut_and_flushed(
    rate: int, sizes: list[int], flushes: set[int]
) -> None:
    intake = Intake("pcm_s16le", rate, 1)
    given_samples = 0
    for number, size in enumerate(sizes):
        given_samples += sum(len(samples) for samples in intake.push(bytes(2 * size)))
        if number in flushes:
            given_samples += len(intake.flush())
            assert given_samples == round(intake.received_samples * 16_000 / rate)
    given_samples += len(intake.flush())
    assert intake.received_samples == sum(sizes)
    assert given_samples == round(sum(sizes) * 16_000 / rate)


def test_audio_sent_sample_by_sample_is_gathered() -> None:
    intake = Intake("pcm_s16le", 16_000, 1)
    pieces = [samples for _ in range(1600) for samples in intake.push(b"\1\0")]
    assert len(pieces) == 10
    assert sum(len(samples) for samples in pieces) == 1600
