"""A model card: what an adapter is, what it was trained on and how, and how well it did on the way."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from voicewire.asr.low_rank import LowRank
from voicewire.asr.train.settings import FitSettings, WindowSettings
from voicewire.asr.train.shards import Shard, Utterance

MOST_ROWS = 16  # of the table of examinations: the first, the last, the best, and evenly chosen ones between
NOT_STATED = "not stated"
NO_SPEECH = "noise, music, silence"


@dataclass(frozen=True, slots=True)
class Examined:
    """One examination.

    Attributes:
        hours: of windows seen before it.
        mean: of all rates, which the best adapter has the least of.
        rates: word error rate as a share, by set and commit length.
        kinds: the same for substitutions, deletions and insertions, by set, commit length and kind.
    """

    hours: float
    mean: float
    rates: dict[str, float]
    kinds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run measured on its way.

    Attributes:
        examinations: in the order of hours.
        hours: of windows, when the log ends.
        began_with: the adapter that it went on from; empty for none.
    """

    examinations: list[Examined]
    hours: float
    began_with: str = ""

    @classmethod
    def of(cls, log: Iterable[dict[str, Any]]) -> "Figures":
        """From the lines of a run's log. Where a run was cut off and made steps again, the later line counts."""
        by_step: dict[int, Examined] = {}
        hours, began_with = 0.0, ""
        for line in log:
            if line["kind"] == "begin":
                began_with = line["adapter"]
                continue
            hours = line["hours"]
            if line["kind"] == "examination":
                by_step[line["step"]] = _examined(line)
        found = sorted(by_step.values(), key=lambda one: one.hours)
        return cls([one for one in found if one.hours <= hours], hours, began_with)

    @property
    def sets(self) -> list[str]:
        return sorted({name for one in self.examinations for name in one.rates})

    @property
    def best(self) -> Examined:
        """Of those on the same sets as the last one; of two that are equal the later, as that one was kept."""
        sets = self.examinations[-1].rates.keys()
        alike = [one for one in self.examinations if one.rates.keys() == sets]
        return min(reversed(alike), key=lambda one: one.mean)


def _examined(line: dict[str, Any]) -> Examined:
    rates = {name.removesuffix(" rate"): value for name, value in line.items() if name.endswith(" rate")}
    endings = (" substitutions", " deletions", " insertions")
    kinds = {name: value for name, value in line.items() if name.endswith(endings)}
    return Examined(line["hours"], line["mean"], rates, kinds)


def write_card(
    name: str,
    settings: FitSettings,
    changes: dict[str, LowRank],
    shards: list[Shard],
    figures: Figures,
    curve: str | None,
) -> str:
    """The card as Markdown.

    Args:
        name: the adapter's.
        settings: of the run.
        changes: the adapter's, by the name of the weight.
        shards: what it was trained on.
        figures: measured on the way.
        curve: the file of the plot beside the card, where there is one.
    """
    parts = [
        f"# {name}: makes Whisper {settings.model} causal",
        _purpose(settings),
        _layout(settings, changes),
        _data(shards),
        _recipe(settings, figures),
        _measured(figures, curve),
        _limits(settings, shards),
        _again(settings),
        _licences(shards),
    ]
    return "\n\n".join(parts) + "\n"


def _purpose(settings: FitSettings) -> str:
    return (
        f"A LoRA adapter that teaches OpenAI's Whisper {settings.model} to encode audio in blocks that see only "
        "what came before them, and its\ndecoder to wait where the audio is not there yet. For live "
        f"transcription of speech in the language `{settings.language}`:\n\n"
        f"    voicewire serve --model {settings.model} --adapter FOLDER\n"
        f"    voicewire transcribe FILE --streaming --model {settings.model} --adapter FOLDER\n\n"
        "FOLDER is the one that holds this file."
    )


def _layout(settings: FitSettings, changes: dict[str, LowRank]) -> str:
    count = sum(change.down.numel() + change.up.numel() for change in changes.values())
    rows = [
        ("Layout", "PEFT: `adapter_config.json`, `adapter_model.safetensors`; names are openai-whisper's"),
        ("Kind", f"LoRA, rank {settings.rank}, scale 1, {count / 1e6:.1f} M parameters in float16; W + B A"),
        ("Layers", f"{', '.join(settings.targets)}, in encoder and decoder ({len(changes)} matrices)"),
        ("Blocks", "any length from 100 to 1600 ms, also mixed within one window"),
        ("Front end", "log-mel with the clamp at the running maximum of the stream"),
        ("Prompt", 'Whisper\'s own without time stamps, with earlier text or none; end-of-text means "wait"'),
        ("Language", f"`{settings.language}`, written with capitals and punctuation"),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {left} | {right} |" for left, right in rows)])


def _data(shards: list[Shard]) -> str:
    corpora: dict[str, list[Utterance]] = {}
    for shard in shards:
        for utterance in shard.utterances:
            corpus = (
                _corpus(shard, utterance)
                if utterance.tokens
                else f"{_corpus(shard, utterance)} ({NO_SPEECH})"
            )
            corpora.setdefault(corpus, []).append(utterance)
    rows = [_corpus_row(name, corpora[name]) for name in sorted(corpora)]
    everything = [utterance for members in corpora.values() for utterance in members]
    rows.append(_corpus_row("all", everything))
    head = (
        "| corpus | hours | utterances | speakers | licence | texts |\n| --- | --- | --- | --- | --- | --- |"
    )
    return "\n".join(["## Data", "", head, *rows])


def _corpus_row(name: str, members: list[Utterance]) -> str:
    spoken = [utterance for utterance in members if utterance.tokens]
    speakers = {str(utterance.facts["speaker"]) for utterance in spoken if utterance.facts.get("speaker")}
    own = sum(not utterance.labelled for utterance in spoken)
    texts = "-"
    if spoken:
        texts = (
            "references" if not own else "Whisper's own" if own == len(spoken) else f"{own} are Whisper's own"
        )
    hours = sum(utterance.duration_s for utterance in members) / 3600
    cells = [
        _cell(name),
        f"{hours:.2f}",
        str(len(members)),
        str(len(speakers)) if speakers else "-",
        _cell(", ".join(_stated(members, "licence"))),
        texts,
    ]
    return f"| {' | '.join(cells)} |"


def _recipe(settings: FitSettings, figures: Figures) -> str:
    begin = f"the adapter `{figures.began_with}`" if figures.began_with else "unmodified Whisper"
    seen = f"{figures.hours:.1f} h of {settings.hours:g} h planned, {settings.batch} of 30 s a step"
    rows = [
        ("began with", begin),
        ("windows seen", seen),
        ("learning rate", f"{settings.rate:g} (AdamW), {settings.warm_up} steps of warm-up, then a cosine"),
        ("what is kept", f"the running mean of the weights, decay {settings.decay:g}"),
        ("losses", _losses(settings)),
        ("tokens", _tokens(settings)),
        ("windows", _windows(settings.windows)),
    ]
    table = [f"| {left} | {right} |" for left, right in rows]
    return "\n".join(["## Recipe", "", "| | |", "| --- | --- |", *table])


def _losses(settings: FitSettings) -> str:
    return (
        f"token: {settings.hard:g} label + {1 - settings.hard:g} unmodified model; waiting: "
        f"{settings.wait_loss:g}; missed token: {settings.late_loss:g}; encoder's output: "
        f"{settings.feature_loss:g}"
    )


def _tokens(settings: FitSettings) -> str:
    return (
        f"due {1000 * settings.slack_s:g} ms after their word, {_percent(settings.late)} a block later; "
        f"{_percent(settings.spoiled)} of the past replaced by likely mistakes"
    )


def _windows(windows: WindowSettings) -> str:
    return (
        f"{_percent(windows.in_the_middle)} begin in mid-speech, {_percent(windows.without_words)} have no words, "
        f"{_percent(windows.noise)} a background, {_percent(windows.room)} a room's echoes, "
        f"{_percent(windows.tilt)} a microphone's colour; {_percent(windows.telephone)} by telephone, "
        f"{_percent(windows.codec)} through a codec; {_percent(windows.speed)} of utterances faster or slower"
    )


def _measured(figures: Figures, curve: str | None) -> str:
    if not figures.examinations:
        return "## Accuracy\n\nNot measured on the way: the run was given no development set."
    sets = figures.sets
    head = ["| hours | mean | " + " | ".join(map(_cell, sets)) + " |", "| --- " * (2 + len(sets)) + "|"]
    rows = []
    for one in _some(figures.examinations, figures.best):
        rates = [f"{100 * one.rates[name]:.1f}" if name in one.rates else "-" for name in sets]
        row = [f"{one.hours:.2f}", f"{100 * one.mean:.1f}", *rates]
        rows.append(f"| {' | '.join(f'**{cell}**' if one is figures.best else cell for cell in row)} |")
    kinds = [
        f"| {_cell(name)} | "
        + " | ".join(
            f"{100 * figures.best.kinds.get(f'{name} {kind}', 0.0):.1f}"
            for kind in ("substitutions", "deletions", "insertions")
        )
        + " |"
        for name in sets
        if name in figures.best.rates
    ]
    lines = [
        "## Accuracy",
        "",
        "Word error rate in percent on the development sets, by the very path that a server runs; a column is a",
        "set and the length of a commit in milliseconds. The bold line is this adapter's.",
        "",
        *head,
        *rows,
        "",
        "Its errors by kind, in percent of the words:",
        "",
        "| set | substitutions | deletions | insertions |",
        "| --- | --- | --- | --- |",
        *kinds,
    ]
    if curve is not None:
        lines += ["", f"![Word error rate against hours of training]({curve})"]
    return "\n".join(lines)


def _limits(settings: FitSettings, shards: list[Shard]) -> str:
    corpora = sorted({_corpus(shard, one) for shard in shards for one in shard.utterances if one.tokens})
    return f"""## Limits

Best on speech like that of its training ({", ".join(corpora) or "none"}), in the language `{settings.language}`.
The best was chosen by the development sets above, so the figures flatter it a little: judge it by speech that had
no part in that. Texts that are Whisper's own teach Whisper's mistakes.

It fits no model but Whisper {settings.model}."""


def _again(settings: FitSettings) -> str:
    return f"""## Training it further

With the run's folder, this goes on where it stopped:

    voicewire train fit RUN --data PREPARED --dev DEV.tar --hours {2 * settings.hours:g}

With this folder alone, a new run begins from it (with the same model, and the same rank or a higher one):

    voicewire train fit NEW-RUN --data PREPARED --dev DEV.tar --begin-with FOLDER"""


def _licences(shards: list[Shard]) -> str:
    stated = _stated([utterance for shard in shards for utterance in shard.utterances], "licence")
    return f"""## Licences

Whisper: MIT, OpenAI. Training data: {", ".join(stated)}. What is not stated must be looked up before this
adapter is given away; a licence for the adapter itself must be chosen, too, and written here."""


def _stated(members: list[Utterance], fact: str) -> list[str]:
    values = {str(utterance.facts.get(fact) or NOT_STATED) for utterance in members}
    return sorted(values) or [NOT_STATED]


def _corpus(shard: Shard, utterance: Utterance) -> str:
    return str(utterance.facts.get("corpus", shard.name))


def _some(examinations: list[Examined], best: Examined) -> list[Examined]:
    """At most MOST_ROWS and the best one."""
    count = len(examinations)
    if count <= MOST_ROWS:
        return examinations
    places = {round(row * (count - 1) / (MOST_ROWS - 1)) for row in range(MOST_ROWS)}
    return [one for place, one in enumerate(examinations) if place in places or one is best]


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
