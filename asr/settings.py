"""What one stream may choose."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from voicewire.asr.errors import SettingsError

SAMPLE_RATE = 16_000
FRAME_MS = 20  # of an encoder frame
FRAME_S = FRAME_MS / 1000
LOOKAHEAD_MS = 400
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
MOST_KEYTERMS = 100
LONGEST_KEYTERM = 60  # characters


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Settings of one stream; all but `language` and `beam` may change while it runs.

    Attributes:
        chunk_ms: a tick: how often new audio is looked at, 100 to 300, a multiple of 20.
        commit_ms: the length of a committed block, `chunk_ms` to 1200, a multiple of 20. Longer is more
            accurate and later; equal to `chunk_ms` is the single causal pass of the CarelessWhisper paper.
        endpoint_ms: a pause of this length after words ends the utterance, 200 to 10,000.
        language: the language that is spoken, as Whisper's code for it.
        interim: whether to look at the audio between commits and so give a tail.
        beam: hypotheses tried at commits; 1 is greedy decoding.
        lookahead_ms: audio behind a block that is heard before the block is settled, 0 to 600, a multiple of 20,
            so that the encoder's frames at a block's end are not blind to what follows. None: 400, but 0 where
            `commit_ms` equals `chunk_ms`.
        gate: whether silence is kept from the decoder. Off only for tests and measurements.
        keyterms: names and terms that are likely to be said, as they are to be written (in lower case also with a
            capital): at most 100, of at most 60 characters each. Words that sound like one are heard as it more
            readily.
    """

    chunk_ms: int = 300
    commit_ms: int = 1200
    endpoint_ms: int = 700
    language: str = "en"
    interim: bool = True
    beam: int = 1
    lookahead_ms: int | None = None
    gate: bool = True
    keyterms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("chunk_ms", self.chunk_ms, 100, 300, FRAME_MS)
        _check("commit_ms", self.commit_ms, 100, 1200, FRAME_MS)
        if self.lookahead_ms is not None:
            _check("lookahead_ms", self.lookahead_ms, 0, 600, FRAME_MS)
        _check("endpoint_ms", self.endpoint_ms, 200, 10_000, 1)
        _check("beam", self.beam, 1, 8, 1)
        object.__setattr__(self, "keyterms", _checked_terms(self.keyterms))
        if self.commit_ms < self.chunk_ms:
            raise SettingsError(
                f"commit_ms ({self.commit_ms}) must be at least chunk_ms ({self.chunk_ms}): "
                "raise commit_ms or lower chunk_ms"
            )

    @property
    def chunk_frames(self) -> int:
        return self.chunk_ms // FRAME_MS

    @property
    def commit_frames(self) -> int:
        return self.commit_ms // FRAME_MS

    @property
    def lookahead_frames(self) -> int:
        if self.lookahead_ms is not None:
            return self.lookahead_ms // FRAME_MS
        return LOOKAHEAD_MS // FRAME_MS if self.commit_ms > self.chunk_ms else 0

    def with_changes(
        self, *, chunk_ms: int | None = None, commit_ms: int | None = None, endpoint_ms: int | None = None
    ) -> "StreamSettings":
        """The same settings with those given changed. Raises SettingsError."""
        return replace(
            self,
            chunk_ms=self.chunk_ms if chunk_ms is None else chunk_ms,
            commit_ms=self.commit_ms if commit_ms is None else commit_ms,
            endpoint_ms=self.endpoint_ms if endpoint_ms is None else endpoint_ms,
        )


def _check(name: str, value: int, low: int, high: int, step: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SettingsError(f"{name} must be a whole number, not {value!r}")
    if not low <= value <= high or value % step:
        multiple = f", a multiple of {step}" if step > 1 else ""
        raise SettingsError(f"{name} must be {low} to {high}{multiple}, not {value}")


def _checked_terms(terms: Iterable[str]) -> tuple[str, ...]:
    """The terms with single spaces."""
    terms = tuple(" ".join(term.split()) for term in terms)
    if len(terms) > MOST_KEYTERMS:
        raise SettingsError(f"keyterms: at most {MOST_KEYTERMS} terms, not {len(terms)}")
    for term in terms:
        if len(term) > LONGEST_KEYTERM:
            raise SettingsError(f"keyterms: {term[:20]}... has more than {LONGEST_KEYTERM} characters")
        if not (term.isprintable() and any(character.isalnum() for character in term)):
            raise SettingsError(f"keyterms: {term!r} is no word that can be said")
    return terms
