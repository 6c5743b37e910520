"""Metrics: a lane's run in numbers, as a fold over its records.

They have the definitions of vLLM and llama.cpp: mean accepted length = 1 + accepted / rounds, acceptance rate = accepted / drafted,
acceptance per position = of the rounds that tested position i, the share that accepted it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .events import PrefillDone, Record, RoundVerified, RunCancelled, RunFinished, TokensCommitted


@dataclass
class Metrics:
    """A lane's run in numbers. `seconds` is decoding alone, without prefill."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    draft_lengths: list[int] = field(default_factory=list)
    tested_at: list[int] = field(default_factory=list)  # rounds that judged position i
    accepted_at: list[int] = field(default_factory=list)
    prefill_seconds: float = 0.0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    seconds: float = 0.0
    finish: str = ""

    @classmethod
    def fold(cls, records: Iterable[Record], lane: str) -> "Metrics":
        metrics = cls()
        for record in records:
            if record.lane == lane:
                metrics.observe(record)
        return metrics

    def observe(self, record: Record) -> None:
        match record.event:
            case PrefillDone(seconds=seconds):
                self.prefill_seconds = seconds
            case RoundVerified() as e:
                self._count_round(e)
            case TokensCommitted(ids=ids, text=text):
                self.token_ids += ids
                self.text += text
            case RunFinished(reason=reason):
                self.finish = reason
            case RunCancelled():
                self.finish = "cancelled"
        self.seconds = record.t

    def _count_round(self, e: RoundVerified) -> None:
        self.rounds += 1
        self.drafted += e.drafted
        self.accepted += e.accepted
        self.draft_lengths.append(e.drafted)
        self.draft_seconds += e.draft_seconds
        self.verify_seconds += e.verify_seconds
        tested = min(e.drafted, e.accepted + 1)
        grow = tested - len(self.tested_at)
        self.tested_at += [0] * grow
        self.accepted_at += [0] * grow
        for i in range(tested):
            self.tested_at[i] += 1
            self.accepted_at[i] += i < e.accepted

    def to_json(self) -> dict:
        """The fields of `generate --json` and of each lane in `race --json`."""
        new = len(self.token_ids)
        return {
            "token_ids": self.token_ids,
            "text": self.text,
            "new_tokens": new,
            "finish": self.finish,
            "rounds": self.rounds,
            "drafted": self.drafted,
            "accepted": self.accepted,
            "acceptance_rate": self.accepted / self.drafted if self.drafted else None,
            "mean_accepted_length": 1 + self.accepted / self.rounds if self.rounds else None,
            "acceptance_per_position": [a / n for a, n in zip(self.accepted_at, self.tested_at)],
            "draft_lengths": self.draft_lengths,
            "prefill_seconds": self.prefill_seconds,
            "draft_seconds": self.draft_seconds,
            "verify_seconds": self.verify_seconds,
            "overhead_seconds": self.seconds - self.draft_seconds - self.verify_seconds,
            "seconds": self.seconds,
            "tokens_per_second": new / self.seconds if self.seconds else None,
        }
