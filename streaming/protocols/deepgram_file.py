"""Deepgram's answer about a whole recording, gathered from what a native session says of it."""

from voicewire.streaming.messages import Done, EndpointMessage, ServerMessage, TranscriptMessage
from voicewire.streaming.protocols import deepgram_messages as dg
from voicewire.streaming.protocols.deepgram_query import ListenOptions
from voicewire.streaming.protocols.spoken import SpokenWord, Words, confidence


class DeepgramFile:
    """One recording's answer.

    Args:
        options: the query, read.
        model: the name of the model that listens.
        request_id: for the client, and for the log.
        created: when the request came, as ISO 8601 in UTC.
    """

    def __init__(self, options: ListenOptions, model: str, request_id: str, created: str) -> None:
        self._options = options
        self._model = model
        self._request_id = request_id
        self._created = created
        self._words = Words()
        self._utterances: list[list[SpokenWord]] = [[]]
        self._duration_s = 0.0

    def hear(self, message: ServerMessage) -> None:
        """Takes what the session says."""
        match message:
            case TranscriptMessage():
                self._utterances[-1] += self._words.add(message.words)
            case EndpointMessage():
                self._end_utterance()
            case Done():
                self._end_utterance()
                self._duration_s = message.totals.audio_s

    def text(self, sha256: str) -> str:
        """The answer as JSON; `sha256` is of the request's body."""
        language, formatted = self._options.language_code, self._options.formatted
        words = [word for utterance in self._utterances for word in utterance]
        alternative = dg.Alternative.of(words, language, formatted=formatted)
        utterances = [self._utterance(number) for number, held in enumerate(self._utterances) if held]
        uuid = dg.model_uuid(self._model)
        return dg.FileAnswer(
            metadata=dg.FileMetadata(
                request_id=self._request_id,
                sha256=sha256,
                created=self._created,
                duration=self._duration_s,
                channels=1,
                models=[uuid],
                model_info={uuid: dg.ModelInfo(name=self._options.model)},
            ),
            results=dg.FileResults(
                channels=[dg.FileChannel(alternatives=[alternative])],
                utterances=utterances if self._options.utterances else None,
            ),
        ).json_text()

    def _end_utterance(self) -> None:
        self._utterances[-1] += self._words.finish()
        if self._utterances[-1]:
            self._utterances.append([])

    def _utterance(self, number: int) -> dg.FileUtterance:
        words, formatted = self._utterances[number], self._options.formatted
        return dg.FileUtterance(
            start=round(words[0].start, 3),
            end=round(words[-1].end, 3),
            confidence=confidence(words),
            transcript=" ".join(word.text if formatted else word.plain for word in words),
            words=[dg.Word.of(word, formatted=formatted) for word in words],
            id=f"{self._request_id}-{number}",
        )
