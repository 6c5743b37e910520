"""Metrics of a lane's run, computed from its rounds.

Definitions as in vLLM and llama.cpp: mean accepted length = 1 + accepted / rounds; acceptance rate = accepted / drafted; acceptance per
position = share of the rounds testing position i that accepted it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .events import Record
from .rounds import Lane, fold


@dataclass
class Acceptance:
    """Counts over rounds."""

    draft_lengths: list[int] = field(default_factory=list)  # of every round
    accepted_lengths: list[int] = field(default_factory=list)
    tested_at: list[int] = field(default_factory=list)  # rounds that tested position i
    accepted_at: list[int] = field(default_factory=list)

    @classmethod
    def of_chains(cls, rounds: Iterable[tuple[int, int]]) -> "Acceptance":
        """`rounds`: (drafted, accepted) of each, all chains."""
        counts = cls()
        for drafted, accepted in rounds:
            counts.add(drafted, accepted)
        return counts

    def add(self, drafted: int, accepted: int, tested: int | None = None) -> None:
        """Add a round. `tested`: number of positions that the target judged, counted from the first; default: that of a chain."""
        tested = min(drafted, accepted + 1) if tested is None else tested
        self.draft_lengths.append(drafted)
        self.accepted_lengths.append(accepted)
        grow = tested - len(self.tested_at)
        self.tested_at += [0] * grow
        self.accepted_at += [0] * grow
        for i in range(tested):
            self.tested_at[i] += 1
            self.accepted_at[i] += i < accepted

    @property
    def rounds(self) -> int:
        return len(self.draft_lengths)

    @property
    def drafted(self) -> int:
        return sum(self.draft_lengths)

    @property
    def accepted(self) -> int:
        return sum(self.accepted_lengths)

    @property
    def acceptance_rate(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None

    @property
    def mean_accepted_length(self) -> float | None:
        return 1 + self.accepted / self.rounds if self.rounds else None

    @property
    def acceptance_per_position(self) -> list[float]:
        return [accepted / tested for accepted, tested in zip(self.accepted_at, self.tested_at)]

    def as_vllm(self) -> dict:
        """vLLM's `metrics.speculative_decoding` of a request (its pull request 48915), with its names and definitions: only rounds with
        drafts count. Entry j of the histogram is the number of rounds that accepted exactly j drafts."""
        lengths = [accepted for drafted, accepted in zip(self.draft_lengths, self.accepted_lengths) if drafted]
        return {
            "mean_acceptance_length": 1 + self.accepted / len(lengths) if lengths else None,
            "draft_acceptance_rate": self.acceptance_rate,
            "acceptance_histogram": histogram(lengths, max(self.draft_lengths)) if lengths else [],
            "num_spec_steps": len(lengths),
            "num_accepted_draft_tokens": self.accepted,
            "num_draft_tokens": self.drafted,
        }


def histogram(values: Iterable[int], most: int) -> list[int]:
    """How often each number from 0 to `most` occurs."""
    counts = Counter(values)
    return [counts[value] for value in range(most + 1)]


@dataclass
class Metrics(Acceptance):
    """`seconds`: decoding only, without prefill. `finish`: length, eos, stop, cancelled, or "" while it runs.

    `stated`: the totals that another program reported instead of rounds, in vLLM's names. `to_json` gives None for anything that another
    program did not report."""

    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    prefill_seconds: float = 0.0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    seconds: float = 0.0
    finish: str = ""
    foreign: bool = False
    new_tokens: int = 0
    stated: dict | None = None

    @classmethod
    def fold(cls, records: Iterable[Record], lane: str, row: int = 0) -> "Metrics":
        return cls.of(fold(records, lane, row))

    @classmethod
    def of(cls, lane: Lane) -> "Metrics":
        metrics = cls(token_ids=lane.token_ids, text=lane.text, seconds=lane.clock)
        metrics.prefill_seconds = lane.prefill.seconds if lane.prefill else 0.0
        for round in lane.judged:
            metrics.add(round.drafted, round.accepted, round.tested)
            if round.verdict:
                metrics.draft_seconds += round.verdict.draft_seconds
                metrics.verify_seconds += round.verdict.verify_seconds
        metrics.foreign, metrics.new_tokens = lane.foreign, len(lane.token_ids)
        if lane.ended:
            metrics.finish = lane.ended.reason if lane.finished else "cancelled"
        if lane.foreign and lane.ended:
            metrics.new_tokens = lane.ended.new_tokens
            metrics.stated = lane.ended.speculative_decoding or {} if lane.finished and not lane.rounds else None
        return metrics

    @property
    def tokens_per_second(self) -> float | None:
        return self.new_tokens / self.seconds if self.seconds else None

    def to_json(self) -> dict:
        """The fields of `generate --json` and of each lane in `race --json`, followed by those with vLLM's names."""
        fields = {
            "token_ids": self.token_ids,
            "text": self.text,
            "new_tokens": self.new_tokens,
            "finish": self.finish,
            "rounds": self.rounds,
            "drafted": self.drafted,
            "accepted": self.accepted,
            "acceptance_rate": self.acceptance_rate,
            "mean_accepted_length": self.mean_accepted_length,
            "acceptance_per_position": self.acceptance_per_position,
            "draft_lengths": self.draft_lengths,
            "prefill_seconds": self.prefill_seconds,
            "draft_seconds": self.draft_seconds,
            "verify_seconds": self.verify_seconds,
            "overhead_seconds": self.seconds - self.draft_seconds - self.verify_seconds,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
        } | self.as_vllm()
        return fields | (self._told() if self.foreign else {})

    def _told(self) -> dict:
        """The fields that differ for another program's run. None: not reported."""
        fields = {name: getattr(self, name) or None for name in ("token_ids", "text", "prefill_seconds", "seconds")}
        fields |= dict.fromkeys(("draft_seconds", "verify_seconds", "overhead_seconds"))
        if (said := self.stated) is None:
            return fields
        fields |= dict.fromkeys(("draft_lengths", "acceptance_per_position"))
        ours = {"rounds": "num_spec_steps", "drafted": "num_draft_tokens", "accepted": "num_accepted_draft_tokens"}
        ours |= {"acceptance_rate": "draft_acceptance_rate", "mean_accepted_length": "mean_acceptance_length"}
        return fields | {name: said.get(name) for name in self.as_vllm()} | {name: said.get(theirs) for name, theirs in ours.items()}
