"""What the encoder's output owes to its place in the window.

A quarter of what the decoder sees of a frame says where in the window it stands, not what is heard in it. The mean
over much speech at each position is that part. It need not be kept in tokens, since a reader knows it, and where a
reader moves frames to the beginning of its next window, it is what must change.
"""

from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from voicewire.asr.errors import WeightsError
from voicewire.asr.window import CAPACITY

FILE = "places.safetensors"
FORMAT = "voicewire.places.1"
RANK = 32  # of the table: 16 directions hold 99 % of it
_SMOOTH = 11  # frames to either side of one, less near the window's start


def estimate_places(means: Tensor) -> Tensor:
    """Means of the features at each position, shape = (positions, n_state), smoothed in time, the mean over all
    positions taken away, and the last one held up to a window's capacity; shape = (CAPACITY, n_state), float32.
    """
    smooth = torch.stack([_around(means, at) for at in range(len(means))])
    smooth -= smooth.mean(0)
    left, strength, right = torch.linalg.svd(smooth, full_matrices=False)
    table = (left[:, :RANK] * strength[:RANK]) @ right[:RANK]
    return torch.cat([table, table[-1:].expand(CAPACITY - len(table), -1)])


def _around(means: Tensor, at: int) -> Tensor:
    """The weighted mean of the frames around one; as many to its left as to its right."""
    reach = min(_SMOOTH, at, len(means) - 1 - at)
    weights = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
    return (weights / weights.sum()) @ means[at - reach : at + reach + 1]


def write_places(path: Path, places: Tensor, model_sha256: str, adapter_sha256: str) -> None:
    """Writes the table in half precision, for one encoder: weights and adapter."""
    header = {"format": FORMAT, "model_sha256": model_sha256, "adapter_sha256": adapter_sha256}
    left, strength, right = torch.linalg.svd(places, full_matrices=False)
    factors = {"at": left[:, :RANK] * strength[:RANK], "directions": right[:RANK]}
    save_file({name: factor.half().contiguous() for name, factor in factors.items()}, path, header)


def find_places(model_sha256: str, adapter_sha256: str) -> Tensor:
    """The table that was made for this encoder, shape = (CAPACITY, n_state), float32.

    Raises:
        WeightsError: none is shipped for it, or it is damaged.
    """
    with resources.as_file(resources.files("voicewire.asr") / "shipped") as folder:
        for path in sorted(folder.glob(f"*/{FILE}")):
            table = _read(path, model_sha256, adapter_sha256)
            if table is not None:
                return table
    raise WeightsError(
        f"this Whisper and adapter have no {FILE}: only with it can their features be taken or read. Use the "
        "shipped adapter, or make one: python -m voicewire.codecs.train.quantise"
    )


def _read(path: Path, model_sha256: str, adapter_sha256: str) -> Tensor | None:
    """None where it was made for another encoder."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsError(f"{path} holds no places of a window: delete it")
            if (header["model_sha256"], header["adapter_sha256"]) != (model_sha256, adapter_sha256):
                return None
            table: Tensor = file.get_tensor("at").float() @ file.get_tensor("directions").float()
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None
    if len(table) != CAPACITY or not torch.isfinite(table).all():
        raise WeightsError(f"{path} is damaged: it has {len(table)} places, wanted are {CAPACITY}")
    return table
