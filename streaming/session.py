"""One session, sans I/O: what the client sent and what the engine reported go in, commands and messages come out.

No sockets, no threads, no clock: whoever drives it passes the time in, carries its commands to the engine and its
messages to the client, and asks it when to look again.
"""

import math
from collections.abc import Iterator, Mapping

from voicewire.codecs.codec import Codec
from voicewire.codecs.tokens import Tokens
from voicewire.streaming.account import Account
from voicewire.streaming.commands import (
    CloseStream,
    Command,
    ConfigureStream,
    Eased,
    Encoded,
    Failed,
    FlushStream,
    Opened,
    Progress,
    PushAudio,
    PushTokens,
    Refined,
    Report,
)
from voicewire.streaming.errors import DecodingError, SessionError
from voicewire.streaming.intake import Intake
from voicewire.streaming.messages import (
    CLOSE_CODES,
    NORMAL_CLOSE,
    Ack,
    ClientMessage,
    Close,
    Configure,
    Configured,
    Done,
    Error,
    ErrorCode,
    Flush,
    KeepAlive,
    Resume,
    ServerMessage,
    Start,
    Warning,
)
from voicewire.streaming.outbox import Outbox
from voicewire.streaming.parsing import check_size, parse
from voicewire.streaming.patience import Ending, Patience, SessionState
from voicewire.streaming.refinement import Refinement
from voicewire.streaming.return_path import ReturnPath
from voicewire.streaming.settings import ServerSettings
from voicewire.streaming.terms import Terms
from voicewire.streaming.token_intake import TokenIntake

_CLOSING = "close"


class Session:
    """One client's session.

    Every method that takes `now` (seconds of any steady clock) returns the commands for the engine, in order.

    Args:
        settings: limits, and what holds where `start` does not say.
        model: the model's name, for `ready`.
        session_id: for `ready` and the log.
        now: when the connection was made.
        codecs: those that are loaded, by name.
        token: with which a client may go on after its connection was lost; nobody can guess it.

    Attributes:
        state: where the session stands.
        ended_with: the code of the error that ended it; None before, and after `done`.
        done: whether it came to its proper end.
    """

    def __init__(
        self,
        settings: ServerSettings,
        model: str,
        session_id: str,
        now: float,
        codecs: Mapping[str, Codec] | None = None,
        token: str = "",
    ) -> None:
        self.session_id = session_id
        self.state = SessionState.WAITING
        self.ended_with: ErrorCode | None = None
        self.done = False
        self._settings = settings
        self._model = model
        self._codecs = codecs or {}
        self._outbox = Outbox(settings.outgoing_items)
        self._patience = Patience(settings, now)
        self._refinement = Refinement(self._outbox, settings.refine_s)
        self._returns = ReturnPath(self._outbox, settings.ticket(token))
        self._terms: Terms | None = None
        self._ready_due = False
        self._intake: Intake | TokenIntake | None = None
        self._account: Account | None = None
        self._flushes = 0
        self._ending: Ending | None = None
        self._told = False
        self._warned = False

    # ---- what the driver reads

    @property
    def accepts_input(self) -> bool:
        """Whether to go on reading the connection; where not, the client is to be held back."""
        if self.state is SessionState.OPENING:
            return False
        if self.state is not SessionState.RUNNING:
            return True
        return self.buffered_s < self._settings.buffered_s and (
            not self._account or self._account.pending_flushes < self._settings.pending_flushes
        )

    @property
    def received_s(self) -> float:
        """Seconds of audio received."""
        return self._intake.received_s if self._intake else 0.0

    @property
    def buffered_s(self) -> float:
        """Seconds of audio received and not yet looked at."""
        return max(0.0, self.received_s - self._account.processed_s) if self._account else 0.0

    @property
    def words(self) -> int:
        """Words sent so far."""
        return self._account.words if self._account else 0

    @property
    def resumable(self) -> bool:
        """Whether a client whose connection is lost is waited for."""
        return self._returns.open and not self._ready_due

    @property
    def abandoned(self) -> bool:
        """Whether the connection is lost and the client may still come back."""
        return self._returns.waiting

    @property
    def close_code(self) -> int:
        """The websocket's close code, once the session is closed."""
        return NORMAL_CLOSE if self.ended_with is None else CLOSE_CODES[self.ended_with]

    def take(self) -> ServerMessage | bytes | None:
        """The next message for the client, in bytes a binary one; None where there is none now."""
        # Nothing may go before `ready`; an error instead of it closes the session.
        if self._ready_due and self.state is not SessionState.CLOSED:
            return None
        return self._returns.ack() or self._outbox.take()

    def next_deadline(self) -> float | None:
        """When to call `tick`, if nothing else happens before; None where nothing is waited for."""
        if not self.abandoned:
            return self._patience.deadline(self.state, held_back=not self.accepts_input, ending=self._ending)
        # Who is not there can neither be idle nor be held back, but an ending has its bound all the same.
        bound = self._ending.deadline if self._ending and self.state is SessionState.CLOSING else math.inf
        return min(self._returns.deadline, bound)

    # ---- what comes in

    def receive_text(self, text: str, now: float) -> list[Command]:
        """Takes a text message."""
        return self._guarded(self._text(text), now)

    def receive_message(self, message: ClientMessage, now: float) -> list[Command]:
        """Takes a text message that was read already."""
        return self._guarded(self._message(message), now)

    def receive_bytes(self, data: bytes, now: float) -> list[Command]:
        """Takes a binary message, which is audio, or tokens of it."""
        return self._guarded(self._audio(data), now)

    def receive_report(self, report: Report, now: float) -> list[Command]:
        """Takes what the engine reports."""
        held_back = not self.accepts_input
        self._patience.reported = now
        commands = self._guarded(self._report(report), None)
        if held_back and self.accepts_input:
            self._patience.heard = now
        return commands

    def client_left(self) -> list[Command]:
        """The client has gone for good."""
        self._returns.shut()
        if self.state is SessionState.CLOSED:
            return []
        self._outbox.clear()
        return self._closed()

    def connection_lost(self, now: float) -> list[Command]:
        """The connection broke: a client that asked for it may come back, and is waited for."""
        if not self.resumable:
            return self.client_left()
        self._returns.lose(now)
        return []

    def resume(self, received: int, now: float) -> list[Command]:
        """The client is back, or has a new connection while the old one seems to live, and goes on.

        `received` is how many messages it has of those after `ready`; they and the session's state stand where
        they stood. Raises SessionError where that cannot be; the session is then as it was.
        """
        if not self.resumable:
            raise SessionError(
                ErrorCode.RESUME_FAILED, "the session cannot be resumed any more: open another"
            )
        self._returns.resume(received, self.received_s)
        self._patience.heard = now
        return []

    def fail(self, code: ErrorCode, message: str) -> list[Command]:
        """Ends the session at once; words that were not committed are lost."""
        if self.state is SessionState.CLOSED:
            return []
        # Before `ready` nothing else can have been said; what a slow reader has not read it will not read now.
        if self._ready_due or code is ErrorCode.SLOW_READER:
            self._outbox.clear()
        self._outbox.put(Error(code=code, message=message))
        self.ended_with = code
        return self._closed()

    def shut_down(self, now: float, within_s: float) -> list[Command]:
        """The server stops: what was received is finished, for at most `within_s` seconds."""
        return self._finish(
            ErrorCode.SHUTTING_DOWN, "the server is shutting down: connect again", now, within_s
        )

    def tick(self, now: float) -> list[Command]:
        """Lets time pass: ends the session where a deadline has come."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        if self.abandoned and now >= self._returns.deadline:
            return self.client_left()
        if self._told:
            self._refinement.give_up()
            return self._guarded(self._ended(), None)
        verdict = self._patience.verdict(
            self.state, now, held_back=not self.accepts_input, ending=self._ending
        )
        if verdict.at_once:
            return self.fail(verdict.code, verdict.message)
        return self._finish(verdict.code, verdict.message, now, self._settings.drain_s)

    # ---- inside

    def _guarded(self, commands: Iterator[Command], now: float | None) -> list[Command]:
        """Collects the commands; an error of this session, or too many unread messages, ends it."""
        if now is not None:
            self._patience.heard = now
        if self.state is SessionState.CLOSED:
            return []
        try:
            collected = list(self._refinement.overhear(commands))
        except SessionError as error:
            return self.fail(error.code, str(error))
        if self._outbox.full:
            return self.fail(
                ErrorCode.SLOW_READER,
                f"more than {self._settings.outgoing_items} messages and words wait: read what the server sends",
            )
        return collected

    def _text(self, text: str) -> Iterator[Command]:
        if self.state is SessionState.CLOSING:
            self._ignore_text(text)
        else:
            yield from self._message(parse(text, self._settings.message_bytes))

    def _message(self, message: ClientMessage) -> Iterator[Command]:
        if self.state is SessionState.CLOSING:
            self._ignore(message)
        elif self.state is not SessionState.WAITING:
            self._returns.count(message)
            yield from self._controlled(message)
        elif isinstance(message, Start):
            yield self._started(message)
        else:
            raise SessionError(ErrorCode.START_EXPECTED, f"expected `start`, and got `{message.type}`")

    def _ignore_text(self, text: str) -> None:
        try:
            self._ignore(parse(text, self._settings.message_bytes))
        except SessionError:
            self._returns.count(b"")
            self._warn_closed("a message")

    def _ignore(self, message: ClientMessage) -> None:
        """A late keepalive or a second close harms nothing; anything else is worth a word."""
        self._returns.count(message)
        if isinstance(message, Ack):
            self._returns.acknowledged(message.received)
        elif not isinstance(message, KeepAlive | Close):
            self._warn_closed(f"`{message.type}`")

    def _started(self, start: Start) -> Command:
        self._terms = terms = Terms.of(start, self._settings.chunk_ms, self._settings.commit_ms, self._codecs)
        if start.encoding == "tokens":
            self._intake = TokenIntake(self._codecs, sound_wanted=terms.codec is not None)
        else:
            self._intake = Intake(start.encoding, start.sample_rate, start.channels)
        self._account = Account(terms, self._outbox)
        self._refinement.use(terms)
        self._patience.began = self._patience.heard
        if start.resume:
            self._returns.begin()
        self._ready_due = True
        self.state = SessionState.OPENING
        return terms.opening

    def _controlled(self, message: ClientMessage) -> Iterator[Command]:
        match message:
            case Start() | Resume():
                raise SessionError(
                    ErrorCode.ALREADY_STARTED,
                    f"a session has one `start`, and got `{message.type}` behind it",
                )
            case Ack():
                self._returns.acknowledged(message.received)
            case Configure():
                yield from self._configured(message)
            case Flush():
                assert self._account is not None
                self._flushes += 1
                tag = str(self._flushes)
                self._account.expect_flush(tag, message.id)
                yield from self._flushed(tag)
            case KeepAlive():
                pass
            case Close():
                yield from self._closing(Ending(None, "", self._patience.heard + self._settings.drain_s))

    def _configured(self, message: Configure) -> Iterator[Command]:
        assert self._terms is not None
        self._terms = self._terms.changed(message)
        yield from self._held_audio()
        self._refinement.use(self._terms)
        yield ConfigureStream(self._terms.stream, self._terms.tokens)
        self._outbox.put(Configured(settings=self._terms.message))

    def _audio(self, data: bytes) -> Iterator[Command]:
        if self.state is SessionState.WAITING:
            raise SessionError(ErrorCode.START_EXPECTED, "expected `start`, and got a binary message")
        self._returns.count(data)
        if self.state is SessionState.CLOSING:
            self._warn_closed("audio")
            return
        check_size(data, self._settings.message_bytes)
        assert self._intake is not None
        before_s, most_s = self.received_s, self._settings.buffered_s
        try:
            for piece in self._intake.push(data):
                # The reader stops at the bound, so that only one message can go beyond it.
                if self.received_s - before_s > most_s or self.buffered_s > 2 * most_s:
                    raise SessionError(
                        ErrorCode.BUFFER_FULL,
                        f"a message holds at most {most_s:g} s of audio: send shorter ones",
                    )
                yield PushTokens(piece) if isinstance(piece, Tokens) else PushAudio(piece)
        except DecodingError as error:
            raise SessionError(ErrorCode.BAD_AUDIO, str(error)) from error

    def _report(self, report: Report) -> Iterator[Command]:
        assert self._account is not None
        match report:
            case Opened():
                if self._account.opened(report.part):
                    self._open()
            case Failed():
                raise SessionError(report.code, report.message)
            case Progress() | Encoded() | Eased():
                self._told = _CLOSING in self._account.tell(report, self.received_s) or self._told
                if isinstance(report, Progress):
                    yield from self._refinement.follow(report.events, self._patience.reported)
            case Refined():
                self._refinement.tell(report)
        if self._told:
            yield from self._ended()

    def _open(self) -> None:
        assert self._terms is not None
        assert self._account is not None
        if self.state is SessionState.OPENING:
            self.state = SessionState.RUNNING
        self._ready_due = False
        self._account.begin()
        ticket = self._returns.ticket if self._returns.open else None
        self._outbox.put_first(self._terms.ready(self.session_id, self._model, self._settings.limits, ticket))

    def _ended(self) -> Iterator[Command]:
        """The last word has been told, and the last token; behind a `close` the second pass is waited for."""
        assert self._account is not None
        if self._refinement.pending and self._ending and self._ending.code is None:
            self._ending = Ending(None, "", min(self._ending.deadline, self._refinement.deadline))
            return
        self._account.finish()
        if self._ending and self._ending.code:
            yield from self.fail(self._ending.code, self._ending.message)
        else:
            self.done = True
            self._outbox.put(Done(totals=self._account.totals(self.received_s)))
            yield from self._closed()

    def _finish(self, code: ErrorCode, message: str, now: float, within_s: float) -> list[Command]:
        """Ends the session after the words of what was received."""
        match self.state:
            case SessionState.WAITING:
                return self.fail(code, message)
            case SessionState.OPENING | SessionState.RUNNING:
                return self._guarded(self._closing(Ending(code, message, now + within_s)), None)
            case SessionState.CLOSING if self._ending:
                deadline = min(self._ending.deadline, now + within_s)
                self._ending = Ending(self._ending.code, self._ending.message, deadline)
        return []

    def _closing(self, ending: Ending) -> Iterator[Command]:
        self.state = SessionState.CLOSING
        self._ending = ending
        yield from self._flushed(_CLOSING)

    def _flushed(self, tag: str) -> Iterator[Command]:
        yield from self._held_audio()
        yield FlushStream(tag, ends=tag == _CLOSING)

    def _held_audio(self) -> Iterator[Command]:
        assert self._intake is not None
        samples = self._intake.flush()
        if len(samples):
            yield PushAudio(samples)

    def _closed(self) -> list[Command]:
        was_open = self.state is not SessionState.WAITING
        self.state = SessionState.CLOSED
        return [CloseStream()] if was_open else []

    def _warn_closed(self, what: str) -> None:
        """Says once that what follows the end is thrown away; only where it was the client that ended it."""
        if not self._warned and self._ending and self._ending.code is None:
            self._outbox.put(
                Warning(code=ErrorCode.ALREADY_CLOSED, message=f"{what} after `close` is ignored")
            )
        self._warned = True
