"""WhisperLiveKit's own server on the weights that voicewire runs, as a peer for the load benchmark.

Its packages are none of ours, so it has an environment of its own, whose Python $VOICEWIRE_WHISPERLIVEKIT names.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import whisper

from benchmarks.faster_whisper_model import package_files
from benchmarks.served import free_port, running
from voicewire.asr.weights import load_checkpoint

VARIABLE = "VOICEWIRE_WHISPERLIVEKIT"
VERSION = "0.2.26"
HOW = f"""\
WhisperLiveKit runs in an environment of its own, and {VARIABLE} names its Python. To make one:
    python3 -m venv whisperlivekit
    whisperlivekit/bin/pip install torch==2.13.0 whisperlivekit=={VERSION}
    export {VARIABLE}=$PWD/whisperlivekit/bin/python"""


def whisperlivekit_python() -> str:
    """The Python that has it. Raises SystemExit, which says how to make an environment."""
    python = os.environ.get(VARIABLE)
    if not python or not Path(python).is_file():
        raise SystemExit(f"there is no {python}. {HOW}" if python else HOW)
    return python


@contextmanager
def whisperlivekit_served(policy: str, threads: int, model: str = "base") -> Iterator[str]:
    """The address of its websocket; ends it afterwards.

    Args:
        policy: `simulstreaming`, its default, or `localagreement`.
        threads: of the arithmetic.

    Raises SystemExit where it is not installed, RuntimeError where it does not get ready, WeightsError.
    """
    python = whisperlivekit_python()
    port = free_port()
    with TemporaryDirectory() as folder:
        weights = _write_weights(Path(folder), model)
        options = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--language": "en",
            "--backend": "faster-whisper",
            "--backend-policy": policy,
            "--warmup-file": "",  # by default it is fetched
            **weights[policy],
        }
        command = [python, "-m", "whisperlivekit.basic_server", "--pcm-input"]
        command += [part for option in options.items() for part in option]
        # What is wanted lies here; whatever else it might look for on a hub is not to be fetched.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        with running(command, f"http://127.0.0.1:{port}/health", environment):
            yield f"ws://127.0.0.1:{port}/asr"


def _write_weights(folder: Path, model: str) -> dict[str, dict[str, str]]:
    """The options by which each policy finds them.

    SimulStreaming has its encoder from CTranslate2 and its decoder from OpenAI's own format, whose heads of
    attention for alignment are known by the model's name alone.
    """
    fast, file = folder / "ctranslate2", folder / f"{model}.pt"
    fast.mkdir()
    for name, data in package_files(model).items():
        (fast / name).write_bytes(data)
    checkpoint = load_checkpoint(model)
    torch.save({"dims": vars(checkpoint.dims), "model_state_dict": checkpoint.state}, file)
    heads = whisper._ALIGNMENT_HEADS[checkpoint.name].decode()
    simulstreaming = {
        "--encoder-model-path": str(fast),
        "--decoder-model-path": str(file),
        "--custom-alignment-heads": heads,
    }
    return {"simulstreaming": simulstreaming, "localagreement": {"--model_dir": str(fast)}}
