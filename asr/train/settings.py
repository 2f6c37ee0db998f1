"""What a training run may choose; kept beside its results, so that it can go on and be told apart."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Target = Literal["query", "key", "value", "out", "mlp.0", "mlp.2"]
ALL_LINEAR: tuple[Target, ...] = ("query", "key", "value", "out", "mlp.0", "mlp.2")
Share = Annotated[float, Field(ge=0, le=1)]


class WindowSettings(BaseModel):
    """How windows are put together. What is a share is a probability, 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 1
    without_words: Share = Field(0.04, description="windows of noise or silence")
    in_the_middle: Share = Field(0.35, description="windows that begin in mid-speech, as after a rollover")
    with_history: Share = Field(0.5, description="of those, how many have the earlier text as a prompt")
    long_pause: Share = Field(0.08, description="utterances with a pause of 2 to 8 s behind them")
    speed: Share = Field(0.4, description="utterances that are played 12 % slower to 14 % faster")
    room: Share = Field(0.2, description="windows with a room's echoes")
    noise: Share = Field(0.35, description="windows with a background, 3 to 30 dB softer")
    made_noise: Share = Field(0.15, description="of the backgrounds, how many are synthetic")
    tilt: Share = Field(0.3, description="windows with a microphone's colour")
    telephone: Share = Field(0.06, description="windows in a telephone's band")
    codec: Share = Field(0.05, description="windows through a lossy codec")
    evenness: Share = Field(
        0.6, description="a corpus counts by its hours to this power: 1 as it is, 0 all alike"
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="factors for corpora by name; 1 where not named"
    )

    def weight_of(self, corpus: str) -> float:
        return self.weights.get(corpus, 1.0)


class FitSettings(BaseModel):
    """A run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "base"
    language: str = "en"
    rank: int = Field(32, ge=1)
    targets: tuple[Target, ...] = Field(ALL_LINEAR, min_length=1)
    batch: int = Field(4, ge=1, description="windows a step")
    rate: float = Field(5e-4, gt=0, description="the highest learning rate")
    warm_up: int = Field(60, ge=0, description="steps")
    hours: float = Field(40.0, gt=0, description="of windows, over which the rate falls to a fiftieth")
    decay: float = Field(
        0.998, ge=0, lt=1, description="of the running mean of the weights, which is what is kept"
    )
    clip: float = Field(1.0, gt=0, description="of the gradient's norm")
    slack_s: float = Field(0.12, ge=0, description="audio that a token may wait for after its end")
    late: Share = Field(0.12, description="tokens that are due one block later")
    spoiled: Share = Field(0.04, description="tokens of the past that are replaced by likely mistakes")
    hard: Share = Field(
        0.5, description="share of the label, beside the unmodified model, in the loss of a token"
    )
    wait_loss: float = Field(0.7, ge=0, description="weight of rows that must wait")
    late_loss: float = Field(0.5, ge=0, description="weight of rows that must say a missed token")
    feature_loss: float = Field(
        0.7, ge=0, description="weight of the encoder's distance from the unmodified model's"
    )
    windows: WindowSettings = WindowSettings()

    def save(self, file: Path) -> None:
        file.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> "FitSettings":
        """Raises OSError, or ValueError where it is damaged."""
        return cls.model_validate_json(file.read_text(encoding="utf-8"))
