"""The race in a terminal: coloured tokens, one line of text per lane, shapes where there is no colour."""

import os
import re
from typing import TextIO

from ..events import RaceFinished, Record, RoundTold, RoundVerified, RunCancelled, RunFinished, RunStarted, TextTold, TokensCommitted
from ..rounds import Lane, Token
from ..text.shares import shares

STYLES = {"accepted": "4;34", "rejected": "9;31", "untested": "9;90", "correction": "32", "bonus": "33", "plain": "0"}
MARKS = {"accepted": "{}", "rejected": "[-{}-]", "untested": "[-{}-]", "correction": "<{}>", "bonus": "+{}+", "plain": "{}"}
DROPPED = ("rejected", "untested")
PART = "\u00b7"  # stands for an incomplete character
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Painter:
    """EESD's text streams; vanilla's is printed after the race, because a terminal has one cursor. Without struck-out drafts, a lane reads
    as the committed text."""

    def __init__(self, out: TextIO):
        self.out = out
        self.colour = out.isatty() and not os.environ.get("NO_COLOR")
        self.lanes = {name: Lane(name) for name in ("vanilla", "eesd")}
        self.waiting: list[Token] = []  # judged, but not printed yet, because the text waits for an unfinished character

    def show(self, record: Record) -> None:
        if record.row or record.lane not in self.lanes:
            return
        lane = self.lanes[record.lane]
        lane.add(record)
        if lane.name == "vanilla":
            return
        if isinstance(record.event, RunStarted):
            if not lane.foreign:  # another program's run has no token states
                self.out.write("\n" + "  ".join(self._paint(state, state) for state in list(STYLES)[:-1]) + "\n\n")
            self.out.write(printable(lane.started.prompt))
        elif isinstance(record.event, RoundVerified):
            beside = lane.round.nodes[len(lane.round.spine) :]  # siblings are many, so those that were not accepted are not shown
            self.waiting += [token for token in lane.round.tokens if token.state not in DROPPED or token not in beside]
        elif isinstance(record.event, TokensCommitted) and record.event.text:
            self._print(record.event.text)
        elif isinstance(record.event, RoundTold | TextTold):
            self.out.write(printable(record.event.text or ""))
        elif isinstance(record.event, RunFinished | RunCancelled):
            self._print("")

    def _print(self, text: str) -> None:
        """Print the tokens that wrote this text, and between them the drafts that were dropped."""
        parts = iter(shares([token.text for token in self.waiting if token.state not in DROPPED], text))
        for token in self.waiting:
            part = token.text.replace("\ufffd", PART) if token.state in DROPPED else next(parts)
            self.out.write(self._paint(part, token.state) if part else "")
        self.waiting = []
        self.out.flush()

    def _paint(self, text: str, state: str) -> str:
        text = printable(text)
        return f"\x1b[{STYLES[state]}m{text}\x1b[0m" if self.colour else MARKS[state].format(text)

    def summary(self, lanes: dict[str, dict], verdict: RaceFinished) -> None:
        self.out.write(f"\n\nvanilla: {printable(self.lanes['vanilla'].text)}\n\n")
        for lane, m in lanes.items():
            line = f"{lane:>8}  {m['seconds']:6.2f} s  {known(m['tokens_per_second'], '6.1f')} tokens/s  "
            line += f"{known(m['mean_accepted_length'], '.2f')} tokens per round"
            self.out.write(line + f"  (prefill {m['prefill_seconds'] * 1e3:.0f} ms)\n")
        if self.lanes["eesd"].backend == "device":
            self.out.write(" backend  device: the rounds of both lanes stayed on the GPU\n")
        if verdict.speedup is not None:
            self.out.write(f" speedup  {verdict.speedup:.2f}x against this engine without drafts\n")
        if verdict.identical is None:
            self.out.write(" verdict  same distribution: the texts may differ, their chances do not\n")
        elif verdict.identical:
            self.out.write(f" verdict  identical, {verdict.level.replace('-', ' ')}\n")
            if (most := verdict.cache_difference) is not None:
                alike = "equal bit for bit" if not most else f"at most {most:.1e} apart"
                self.out.write(f"   cache  keys and values of both lanes, every layer: {alike}\n")
        elif (d := verdict.first_difference) is None:
            self.out.write(" verdict  the texts differ\n")
        else:
            self.out.write(f" verdict  differs at token {d['position'] + 1}, margin {known(d['margin'], '.4f')}\n")


def known(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def printable(text: str) -> str:
    """Control and direction characters of a model or a prompt must not reach the terminal."""
    return _CONTROL.sub("\ufffd", text)
