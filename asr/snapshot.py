"""A stream's whole state as bytes: tensors as safetensors, all else as JSON in its header. Nothing is pickled.

What is restored goes on as if nothing had happened, in another process or on another machine with the same
model and adapter, down to the last bit where the arithmetic is the same.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from voicewire.asr.encoder import ConvState
from voicewire.asr.errors import SettingsError, SnapshotError
from voicewire.asr.gate import SpeechGate, VoiceState
from voicewire.asr.identity import Identity
from voicewire.asr.loudness import Loudness
from voicewire.asr.mel import MelState
from voicewire.asr.settings import StreamSettings
from voicewire.asr.slots import Slots
from voicewire.asr.stream import FlushMark, SettingsMark, Stream
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.utterance import Utterance
from voicewire.asr.watchdog import Watchdog
from voicewire.asr.window import Window
from voicewire.asr.words import SpokenToken

FORMAT = "voicewire.stream.2"
HEADER = "voicewire"
Value = TypeVar("Value")


def save_stream(stream: Stream, slots: Slots, identity: Identity) -> bytes:
    """The stream and its share of the slots."""
    window = stream.window
    gate, gate_arrays = stream.gate.save()
    arrays = {
        **{f"gate.{name}": array for name, array in gate_arrays.items()},
        **{f"voice.{name}": array for name, array in stream.voice.to_arrays().items()},
        "loudness.levels": stream.loudness.levels,
        "loudness.rest": stream.loudness.rest,
    }
    tensors = {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}
    kept = slots.save(stream.slot, window.encoded, window.cached, window.available)
    tensors |= {f"slot.{name}": tensor.cpu().contiguous() for name, tensor in kept.items()}
    tensors["mel.samples"] = stream.mel.samples.contiguous()
    if stream.conv.mel is not None and stream.conv.hidden is not None:
        tensors["conv.mel"] = stream.conv.mel.cpu().contiguous()
        tensors["conv.hidden"] = stream.conv.hidden.cpu().contiguous()
    for index, item in enumerate(stream.queue):
        if isinstance(item, Tensor):
            tensors[f"queue.{index}"] = item.contiguous()
    facts = {"format": FORMAT, "identity": asdict(identity), "stream": _facts(stream), "gate": gate}
    # safetensors keeps no two names for one storage
    return save({name: tensor.clone() for name, tensor in tensors.items()}, {HEADER: json.dumps(facts)})


def _facts(stream: Stream) -> dict[str, Any]:
    return {
        "settings": asdict(stream.settings),
        "window": asdict(stream.window),
        "queue": [_mark(item) for item in stream.queue],
        "clock_samples": stream.clock_samples,
        "ticked": stream.ticked,
        "mel": {"loudest": stream.mel.loudest, "started": stream.mel.started},
        "loudness_start": stream.loudness.start,
        "draft": stream.draft,
        "unsent": [asdict(token) for token in stream.unsent],
        "utterance": asdict(stream.utterance),
        "watchdog": asdict(stream.watchdog),
        "tail_shown": stream.tail_shown,
        "row_samples": stream.row_samples,
    }


def _mark(item: Tensor | FlushMark | SettingsMark) -> dict[str, Any]:
    if isinstance(item, FlushMark):
        return {"flush": item.tag}
    if isinstance(item, SettingsMark):
        return {"settings": asdict(item.settings)}
    return {"audio": len(item)}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was read and found to be whole and of this recogniser."""

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    settings: StreamSettings


def read_snapshot(data: bytes, identity: Identity) -> Snapshot:
    """Raises SnapshotError where the bytes are damaged or belong to another model, adapter or number type."""
    try:
        tensors = load(data)
        # the header's length, then JSON: the format's own layout, since `load` keeps the metadata to itself
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts = json.loads(header["__metadata__"][HEADER])
        theirs = Identity(**facts["identity"])
        if facts["format"] != FORMAT:
            raise SnapshotError(f"the snapshot's format is {facts['format']}, this version reads {FORMAT}")
        settings = StreamSettings(**facts["stream"]["settings"])
    except (
        SafetensorError,
        SettingsError,
        KeyError,
        TypeError,
        UnicodeDecodeError,
        json.JSONDecodeError,
    ) as error:
        raise SnapshotError(f"the snapshot is damaged: {error}") from error
    if theirs != identity:
        raise SnapshotError(
            f"the snapshot is of {theirs}, this recogniser is {identity}: "
            "load the same model, adapter and precision"
        )
    return Snapshot(facts, tensors, settings)


def load_stream(snapshot: Snapshot, slot: int, slots: Slots, vocabulary: Vocabulary) -> Stream:
    """Puts a snapshot into a free slot. Raises SnapshotError; the slot is then free still."""
    try:
        stream = _stream(snapshot, slot, vocabulary, slots)
        slots.load(slot, _part(snapshot.tensors, "slot"))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise SnapshotError(f"the snapshot is damaged: {type(error).__name__}: {error}") from error
    return stream


def _stream(snapshot: Snapshot, slot: int, vocabulary: Vocabulary, slots: Slots) -> Stream:
    facts, tensors = snapshot.facts["stream"], snapshot.tensors
    arrays = {
        name: tensor.numpy() for name, tensor in tensors.items() if name.split(".")[0] in ("gate", "voice")
    }
    window = Window(
        **{**facts["window"], "spoken": [SpokenToken(**token) for token in facts["window"]["spoken"]]}
    )
    frames, tokens = slots.front.shape[1], slots.self_keys.shape[-1]
    if (
        not 0 <= window.committed <= window.encoded <= window.available <= frames
        or not 0 <= window.cached <= len(window.prefix) <= tokens
    ):
        raise ValueError("its window is impossible")
    conv = ConvState(
        *(tensors[name].to(slots.front) if name in tensors else None for name in ("conv.mel", "conv.hidden"))
    )
    loudness = Loudness(
        tensors["loudness.levels"].numpy(), tensors["loudness.rest"].numpy(), int(facts["loudness_start"])
    )
    stream = Stream(
        slot=slot,
        settings=snapshot.settings,
        vocabulary=vocabulary,
        window=window,
        clock_samples=int(facts["clock_samples"]),
        ticked=int(facts["ticked"]),
        mel=MelState(tensors["mel.samples"], float(facts["mel"]["loudest"]), bool(facts["mel"]["started"])),
        conv=conv,
        voice=VoiceState.from_arrays(_part(arrays, "voice")),
        gate=SpeechGate.restore(dict(snapshot.facts["gate"]), _part(arrays, "gate")),
        loudness=loudness,
        draft=[int(token) for token in facts["draft"]],
        unsent=[SpokenToken(**token) for token in facts["unsent"]],
        utterance=Utterance(**facts["utterance"]),
        watchdog=Watchdog(**facts["watchdog"]),
        tail_shown=bool(facts["tail_shown"]),
        row_samples=int(facts["row_samples"]),
    )
    for index, item in enumerate(facts["queue"]):
        stream.queue.append(_queued(item, tensors.get(f"queue.{index}")))
    return stream


def _queued(item: dict[str, Any], audio: Tensor | None) -> Tensor | FlushMark | SettingsMark:
    if "flush" in item:
        return FlushMark(item["flush"])
    if "settings" in item:
        return SettingsMark(StreamSettings(**item["settings"]))
    if audio is None or len(audio) != item["audio"]:
        raise ValueError("audio of its queue is missing")
    return audio


def _part(values: Mapping[str, Value], name: str) -> dict[str, Value]:
    """The values below a name."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
