"""A session that can move to another process: all but its stream, of which the recogniser gives a snapshot."""

from collections.abc import Mapping
from dataclasses import replace

from voicewire.codecs.codec import Codec
from voicewire.streaming.commands import Command, Opened, OpenStream, Part, SnapshotStream, StreamState
from voicewire.streaming.intake import Intake
from voicewire.streaming.messages import Configure
from voicewire.streaming.patience import SessionState
from voicewire.streaming.saved_session import SavedSession
from voicewire.streaming.session import Session
from voicewire.streaming.settings import ServerSettings

# Their decoders have nothing to remember from one message to the next.
_PORTABLE = frozenset({"pcm_s16le", "pcm_f32le", "mulaw", "alaw"})


class PortableSession(Session):
    """A session, with a way out of this process and a way in."""

    @property
    def portable(self) -> bool:
        """Whether it can go on elsewhere: its client comes back, and all that is at work for it can be written."""
        terms = self._terms
        return (
            self.state is SessionState.RUNNING
            and self.resumable
            and terms is not None
            and terms.start.encoding in _PORTABLE
            and terms.parts == {Part.WORDS}
            and not terms.refine
            and not self._refinement.pending
        )

    def pack(self) -> list[Command]:
        """What is held back here goes along with the stream; nothing may be taken in any more."""
        return [*self._held_audio(), SnapshotStream()]

    def save(self, state: StreamState, key: str | None, now: float) -> SavedSession:
        """All but the stream, whose state was reported; `key` is the name of the client's."""
        assert self._terms is not None
        assert self._account is not None
        assert isinstance(self._intake, Intake)
        stream = self._terms.stream
        return SavedSession(
            session_id=self.session_id,
            token=self._returns.ticket.token,
            key=key,
            age_s=now - self._patience.began,
            start=self._terms.start,
            stream={name: getattr(stream, name) for name in ("chunk_ms", "commit_ms", "endpoint_ms")},
            flushes=self._flushes,
            received=self._returns.received,
            received_samples=self._intake.received_samples,
            pushed_samples=state.pushed_samples,
            processed_samples=state.processed_samples,
            rung=self._account.rung,
            outbox=self._outbox.save(),
            narrator=self._account.save(),
        )

    def reopening(self, snapshot: bytes, saved: SavedSession) -> OpenStream:
        """What the engine is asked for, to go on with the stream."""
        assert self._terms is not None
        state = StreamState(snapshot, saved.pushed_samples, saved.processed_samples)
        return replace(self._terms.opening, state=state)

    @classmethod
    def restore(
        cls,
        settings: ServerSettings,
        model: str,
        saved: SavedSession,
        now: float,
        codecs: Mapping[str, Codec] | None = None,
    ) -> "PortableSession":
        """Goes on with a session that was saved; its client is waited for.

        Raises SessionError, where its settings cannot be had here.
        """
        session = cls(settings, model, saved.session_id, now, codecs, saved.token)
        # The way of any session, as far as it is one; what is said on it has been said.
        session.receive_message(saved.start, now)
        session.receive_report(Opened(), now)
        assert session._account is not None
        assert session._terms is not None
        assert isinstance(session._intake, Intake)
        session._terms = session._terms.changed(Configure(**saved.stream))
        session._intake.received_samples = saved.received_samples
        session._flushes = saved.flushes
        session._patience.began = now - saved.age_s
        session._outbox.restore(saved.outbox)
        session._returns.restore(saved.received)
        session._account.restore(saved)
        session._refinement.go_on(saved.pushed_samples)
        session.connection_lost(now)
        return session
