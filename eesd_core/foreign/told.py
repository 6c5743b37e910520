"""What another program reported about one text, and its conversion to records."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..events import PrefillDone, Record, RoundTold, RunFinished, RunStarted, TextTold
from ..metrics import Acceptance


@dataclass
class Told:
    """None or empty: not reported."""

    program: str
    new_tokens: int
    model: str = ""
    prompt_tokens: int | None = None
    prompt_ids: tuple[int, ...] = ()
    prefill_seconds: float | None = None
    seconds: float | None = None  # of decoding
    text: str = ""
    ids: tuple[int, ...] | None = None
    rounds: list[tuple[int, int]] = field(default_factory=list)  # (drafted, accepted) of each round, in order
    totals: dict | None = None  # totals of the whole run in vLLM's names (metrics.py), as far as reported; used without `rounds`
    reason: str = "unknown"
    version: str = ""


def started(program: str, model: str, prompt: str, prompt_ids: Iterable[int], settings: dict, versions: dict) -> RunStarted:
    """Device, dtype and level are empty, because other programs do not report them."""
    return RunStarted(program, model, "", "", "", prompt, tuple(prompt_ids), settings, versions)


def finished(reason: str, new_tokens: int, rounds: list[tuple[int, int]], totals: dict | None) -> RunFinished:
    return RunFinished(reason, new_tokens, Acceptance.of_chains(rounds).as_vllm() if rounds else totals)


def records_of(texts: Iterable[Told]) -> list[Record]:
    """The records of several texts, one row per text. Times of rounds are unknown, so all records stand at 0 on the clock, except the last
    one, which stands at the decoding time, or at 0 if that is not reported."""
    records = []
    for row, told in enumerate(texts):
        settings = {} if told.prompt_tokens is None else {"prompt_tokens": told.prompt_tokens}
        versions = {told.program: told.version} if told.version else {}
        events = [started(told.program, told.model, "", told.prompt_ids, settings, versions)]
        if told.prefill_seconds is not None:
            events.append(PrefillDone(told.prompt_tokens or 0, told.prefill_seconds))
        events += [RoundTold(number, *counts, None, None, None) for number, counts in enumerate(told.rounds)]
        if told.text or told.ids:
            events.append(TextTold(told.ids, told.text))
        last = finished(told.reason, told.new_tokens, told.rounds, told.totals)
        records += [Record("foreign", "eesd", seq, 0.0, event, row) for seq, event in enumerate(events)]
        records.append(Record("foreign", "eesd", len(events), told.seconds or 0.0, last, row))
    return records
