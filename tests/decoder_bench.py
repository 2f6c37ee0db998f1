"""Three streams of real speech, encoded and ready to be decoded: what the decoders' tests share."""

import numpy as np
import torch

from voicewire.asr import masked
from voicewire.asr.decoder import TokenDecoder
from voicewire.asr.encoder import Block, BlockEncoder
from voicewire.asr.greedy import Request
from voicewire.asr.mel import log_mel
from voicewire.asr.model import CausalWhisper
from voicewire.asr.slots import Slots
from voicewire.asr.tokens import Vocabulary, alignment_heads

FRAMES = 400
SLOTS = 3


class Bench:
    """Three streams with 8 s of different speech, encoded in blocks of 1.2 s."""

    def __init__(self, model: CausalWhisper, speech: np.ndarray, spare: int = 0) -> None:
        self.model = model
        self.slots = Slots.allocate(model.dims, SLOTS, model.dtype, model.device, spare=spare)
        self.encoder = BlockEncoder(model, self.slots)
        self.decoder = TokenDecoder(model, self.slots, alignment_heads("base", model.dims))
        self.vocabulary = Vocabulary.of(model.dims, "en", model.device)
        self.features = []
        for slot in range(SLOTS):
            mel = log_mel(torch.from_numpy(speech[slot * 200_000 :][: 320 * FRAMES]))
            self.slots.front[slot, :FRAMES] = masked.convolve(model, mel)[:FRAMES]
            blocks = [Block(slot, at, min(at + 60, FRAMES)) for at in range(0, FRAMES, 60)]
            self.features.append(self.encoder.encode(blocks))

    def request(
        self, slot: int, prefix: list[int], draft: list[int], visible: int, budget: int = 24
    ) -> Request:
        prompt = self.vocabulary.prompt([])
        return Request(slot, self.vocabulary, prompt + prefix, 0, [], len(prefix), draft, visible, budget)
