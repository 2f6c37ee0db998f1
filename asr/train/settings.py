"""What a training run may choose; kept beside its results, so that it can go on and be told apart."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

ALL_LINEAR = ("query", "key", "value", "out", "mlp.0", "mlp.2")


class WindowSettings(BaseModel):
    """How windows are put together. What is a share is a probability, 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 1
    without_words: float = Field(0.04, description="windows of noise or silence")
    in_the_middle: float = Field(0.35, description="windows that begin in mid-speech, as after a rollover")
    with_history: float = Field(0.5, description="of those, how many have the earlier text as a prompt")
    long_pause: float = Field(0.08, description="utterances with a pause of 2 to 8 s behind them")
    speed: float = Field(0.4, description="utterances that are played 12 % slower to 14 % faster")
    room: float = Field(0.2, description="windows with a room's echoes")
    noise: float = Field(0.35, description="windows with a background, 3 to 30 dB softer")
    made_noise: float = Field(0.15, description="of the backgrounds, how many are synthetic")
    tilt: float = Field(0.3, description="windows with a microphone's colour")
    telephone: float = Field(0.06, description="windows in a telephone's band")
    codec: float = Field(0.05, description="windows through a lossy codec")
    evenness: float = Field(
        0.6, description="a corpus counts by its hours to this power: 1 as it is, 0 all alike"
    )
    weights: dict[str, float] = Field({}, description="factors for corpora by name; 1 where not named")

    def weight_of(self, corpus: str) -> float:
        return self.weights.get(corpus, 1.0)


class FitSettings(BaseModel):
    """A run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "base"
    language: str = "en"
    rank: int = Field(32, ge=1)
    targets: tuple[str, ...] = ALL_LINEAR
    batch: int = Field(4, ge=1, description="windows a step")
    rate: float = Field(5e-4, gt=0, description="the highest learning rate")
    warm_up: int = Field(60, ge=0, description="steps")
    hours: float = Field(40.0, gt=0, description="of windows, over which the rate falls to a hundredth")
    decay: float = Field(0.998, description="of the running mean of the weights, which is what is kept")
    clip: float = Field(1.0, description="of the gradient's norm")
    slack_s: float = Field(0.12, description="audio that a token may wait for after its end")
    late: float = Field(0.12, description="tokens that are due one block later")
    spoiled: float = Field(0.04, description="tokens of the past that are replaced by likely mistakes")
    hard: float = Field(
        0.5, description="share of the label, beside the unmodified model, in the loss of a token"
    )
    wait_loss: float = 0.7
    late_loss: float = 0.5
    feature_loss: float = 0.7
    windows: WindowSettings = WindowSettings()

    def save(self, file: Path) -> None:
        file.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> "FitSettings":
        """Raises OSError, or ValueError where it is damaged."""
        return cls.model_validate_json(file.read_text(encoding="utf-8"))
