"""Makes the quantiser of whisper_semantic for an encoder: Whisper and an adapter.

    python -m voicewire.codecs.train.quantise --data PREPARED... --work FOLDER [--adapter PATH] [--minutes 90]

PREPARED are folders that `voicewire train prepare` wrote. In FOLDER it leaves `25hz.safetensors`, for
codecs/shipped/whisper-semantic-1, and the log of the training; a quantiser that lies there already is trained
further. Where the encoder has no `places.safetensors` yet it makes that alone, for the
adapter's folder in asr/shipped: put it there, and run the command again.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from voicewire.asr.adapters import Adapter, load_adapter
from voicewire.asr.checkpoint import Checkpoint
from voicewire.asr.errors import WeightsError
from voicewire.asr.features import FeatureSource
from voicewire.asr.model import CausalWhisper
from voicewire.asr.places import FILE, find_places, write_places
from voicewire.asr.precision import choose_precision
from voicewire.asr.tokens import Vocabulary
from voicewire.asr.train.shards import Shard, open_shards
from voicewire.asr.weights import load_checkpoint
from voicewire.asr.window import CAPACITY
from voicewire.codecs.quantiser import Quantiser
from voicewire.codecs.quantiser_file import read_quantiser, write_quantiser
from voicewire.codecs.train.beginning import begin, decoder_metric
from voicewire.codecs.train.fit import Learner, Trainer
from voicewire.codecs.train.material import Clip, collect_clips, load_clips, measure_places, save_clips

log = logging.getLogger(__name__)

NAME = "whisper_semantic"
QUANTISER = "25hz.safetensors"
STACK, CODEBOOKS = 2, 4  # features in a frame of codes, codes in it
CHOICES = (1, 2, 2, 4)  # a step draws the number of codebooks from these
PLACES_WINDOWS = 800
SAVE_STEPS = 100


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Raises WeightsError and AudioError."""
    parser = argparse.ArgumentParser(
        prog="python -m voicewire.codecs.train.quantise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="PREPARED")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", default="base")
    parser.add_argument("--adapter", default="default")
    parser.add_argument("--hours", type=float, default=3.0, help="of speech; default %(default)s")
    parser.add_argument("--minutes", type=float, default=90.0, help="of processor time; default %(default)s")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = load_checkpoint(args.model)
    adapter = load_adapter(args.adapter, checkpoint)
    shards = open_shards(args.data)
    try:
        places = find_places(checkpoint.sha256, adapter.sha256)
    except WeightsError:
        places = measure_places(shards, _source(checkpoint, adapter, None), PLACES_WINDOWS)
        write_places(args.work / FILE, places, checkpoint.sha256, adapter.sha256)
        log.info("put %s into the adapter's folder in asr/shipped, and run this again", args.work / FILE)
        return
    clips = _clips(args.work / "clips.safetensors", shards, _source(checkpoint, adapter, places), args.hours)
    _train(args.work, args.minutes, checkpoint, adapter, places, clips)


def _source(checkpoint: Checkpoint, adapter: Adapter, places: Tensor | None) -> FeatureSource:
    dtype = choose_precision(checkpoint.dims, device="cpu").dtype
    model = CausalWhisper.from_state(checkpoint.dims, adapter.merge(checkpoint.state), dtype)
    if places is None:
        places = torch.zeros(CAPACITY, checkpoint.dims.n_audio_state)
    return FeatureSource(model, places, checkpoint.sha256, adapter.sha256)


def _clips(kept: Path, shards: list[Shard], source: FeatureSource, hours: float) -> list[Clip]:
    if not kept.exists():
        log.info("taking the features of up to %g h of speech", hours)
        save_clips(collect_clips(shards, source, hours), kept)
    return load_clips(kept)


def _train(
    work: Path, minutes: float, checkpoint: Checkpoint, adapter: Adapter, places: Tensor, clips: list[Clip]
) -> None:
    dims = checkpoint.dims
    model = CausalWhisper.from_state(dims, adapter.merge(checkpoint.state))
    metric = decoder_metric(model.decoder.cross_kv.weight)
    model.to(choose_precision(dims, device="cpu").dtype)
    if (work / QUANTISER).exists():
        quantiser = read_quantiser(work / QUANTISER).quantiser
    else:
        quantiser = begin(clips, metric, STACK, CODEBOOKS)
    learner = Learner(quantiser.requires_grad_(), CHOICES)
    trainer = Trainer(model, places, Vocabulary.of(dims, "en", model.device), learner, clips)
    began = time.process_time()  # which stands still while others have the machine
    with (work / "log.jsonl").open("a") as lines:
        while (share := (time.process_time() - began) / (60 * minutes)) < 1:
            progress = trainer.step(share)
            facts = {"step": trainer.steps, "share": round(share, 4)} | asdict(progress)
            lines.write(json.dumps(facts) + "\n")
            if trainer.steps % SAVE_STEPS == 0:
                lines.flush()
                _save(work, quantiser, checkpoint, adapter)
                log.info("step %d, %.0f %%", trainer.steps, 100 * share)
    _save(work, quantiser, checkpoint, adapter)


def _save(work: Path, quantiser: Quantiser, checkpoint: Checkpoint, adapter: Adapter) -> None:
    write_quantiser(work / QUANTISER, NAME, quantiser, checkpoint.sha256, adapter.sha256)


if __name__ == "__main__":
    main()
