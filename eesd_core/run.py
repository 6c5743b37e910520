"""The run of one text. Rounds happen only here, in public phases:

    plan      the controller says how large the round may be
    draft     the drafter proposes nodes, and after each one the controller says go on or stop; then a tree gets its siblings
    rows      the hidden states that the verify pass begins with
    judge     the acceptance rule compares the target's logits with the nodes
    commit    accepted tokens join the text, everything else is rolled back, controller and drafter learn

`verify` is rows, the pass and judge for one text. `round` is a whole round, for callers that need no events. narration.py runs the phases
and yields events.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite
from operator import eq

import torch
from torch import Tensor

from .candidates import MOST, Candidates
from .clock import Clock
from .control import Controller, Decision, Outcome
from .costs import CostTracker
from .draft.base import LOGITS, Draft, Drafter, Node, Room, Text, parents_of
from .limits import MAX_ROWS
from .model.cache import KVCache
from .model.parallel import first_ones
from .model.span import Segment, Span
from .model.target import Target
from .sampling import NEXT, SHARED, Ranked, Sampler, Sampling
from .text.detokenizer import Detokenizer
from .text.stop_strings import StoppedText
from .verify import NOTHING, Verdict, by_matching, by_rejection

MOST_MARGIN = 1e4  # means "no other token was left" after top-p; JSON has no infinity
ENDS = ("eos", "stop")  # reasons to stop drafting that also end the text if all drafts are accepted


@dataclass(slots=True)
class Judgement:
    """A verdict and the target's certainty."""

    verdict: Verdict
    probabilities: tuple[float, ...]  # the target's, of every node
    next_probability: float
    margins: tuple[float, ...]  # the lead of the target's choice at every row, in logits
    ends: bool  # an accepted node ends the text: nothing follows it
    seconds: float = 0.0  # of the pass and the judging


class Run:
    backend = "host"  # the host starts every step (backends.py)

    def __init__(
        self, target: Target, ids: Sequence[int], new_tokens: int, sampling: Sampling, drafter: Drafter, controller: Controller,
        costs: CostTracker, candidates: Candidates | None = None, stop: Sequence[str] = (),
    ):  # fmt: skip
        """`candidates`, if given, records the target's best candidates for every token. `stop`: strings that end the text."""
        self.target, self.drafter, self.controller, self.costs, self.candidates = target, drafter, controller, costs, candidates
        self.prompt_length, self.new_tokens = len(ids), new_tokens
        sampler = Sampler(sampling, target.vocab, target.device)
        self.text = Text(list(ids), self._new_cache(len(ids) + new_tokens + MAX_ROWS), sampler)  # a tree can exceed the tokens left
        self.stop = stop
        self.watch = self._watch()
        self.clock = Clock()
        self.ended: str | None = None  # why the text is complete: "stop", "eos" or "length"
        self.budget = 0  # most drafts of this round
        self.free = False  # they need no step of a model (Drafter.free)
        self.whole = False  # a round without drafts is verified in one piece, not behind the drafter's first layers (together.py)
        self.drafted, self.judged = Draft(), Judgement(NOTHING, (), 0.0, (), False)
        self._seen: dict[int, Tensor] = {}  # the hidden states of this round's rows that the drafter wants to see

    def _new_cache(self, capacity: int) -> KVCache:
        return self.target.new_cache(capacity)

    @property
    def written(self) -> list[int]:
        return self.text.ids[self.prompt_length :]

    @property
    def left(self) -> int:
        """How many tokens may still be written."""
        return self.prompt_length + self.new_tokens - len(self.text.ids)

    @torch.inference_mode()
    def prefill(self) -> float:
        """Run all prompt tokens but the last through the target, and the drafter's part on them. Returns the seconds it took. It ends with
        a copy to the host, otherwise a GPU would still be working when the decoding clock starts."""
        began = time.perf_counter()
        self.text.cache.prompt = self.prompt_length
        hidden = self.target.embed(self.text.ids[:-1], 0)
        seen = self.target.states(0, self.drafter.taps, hidden, [Segment(self.text.cache, Span(0), hidden.shape[1])])
        hidden = seen[self.target.depth]
        self.drafter.begin(self.text, seen)
        if hidden.shape[1]:
            hidden[0, -1, 0].item()
        return time.perf_counter() - began

    def plan(self) -> int:
        """How many tokens this round may draft. A round writes at most one token more than it drafts."""
        costs = self.costs.costs()
        self.free = self.drafter.copies and self.drafter.free(self.text, Room(self.left - 1, self._prices(0, MAX_ROWS)))
        if self.free:
            costs = costs._replace(draft=0.0, first=0.0)
        self.budget = min(self.controller.start_round(costs).nodes, self.left - 1)
        return self.budget

    def draft(self) -> Iterator[tuple[Node, Decision]]:
        """Yields the drafter's nodes one by one, each with the controller's decision. At the end `drafted` is set."""
        text, drafter, controller, ends, budget = self.text, self.drafter, self.controller, self.target.end_ids, self.budget
        nodes: list[Node] = []
        ahead = self.watch and self.watch.fork()  # looks ahead for stop strings: drafts behind one would be wasted
        stop, seconds, go = ("limit" if budget else "none"), 0.0, budget > 0
        while go:
            began = time.perf_counter()
            with torch.inference_mode():
                more = drafter.extend(text, nodes, budget - len(nodes))
            seconds += time.perf_counter() - began
            if not more:
                stop = "none"
                break
            for node in more:
                nodes.append(node)
                decision = controller.keep_drafting(node.facts)
                if ahead:
                    ahead.push([node.id])
                if ahead and ahead.stopped:
                    stop = "stop"
                elif node.id in ends:
                    stop = "eos"
                elif not decision.go and len(nodes) < budget:
                    stop = "controller"
                go = decision.go and stop not in ENDS and len(nodes) < budget
                yield node, Decision(go, decision.terms)
                if not go:
                    break
        if stop == "limit" and len(nodes) == self.left - 1:
            stop = "length"
        began = time.perf_counter()
        with torch.inference_mode():
            siblings = drafter.branch(text, nodes, self._room(len(nodes))) if nodes and drafter.rows > 1 else []
            nodes += siblings
            states = None if self.whole and not nodes else drafter.finish(text, nodes)
        seconds += time.perf_counter() - began
        self.drafted = Draft(nodes, states, stop, seconds)
        for node in siblings:
            yield node, Decision(False, {})

    def _room(self, spine: int) -> Room:
        """Room for siblings beside a spine of this many nodes."""
        return Room(self.left - 1, self._prices(spine, self.drafter.rows))

    def _prices(self, spine: int, most: int) -> tuple[float, ...]:
        """Prices of the rows behind the spine's, in a pass of at most `most` rows (see Room). Every row of a tree passes the drafter's
        `reuses` layers once more, so the price of a verify row is scaled up from the remaining layers to all layers."""
        verify, layers = self.costs.costs().verify, self.target.depth
        by = self.costs.pace * layers / (layers - self.drafter.reuses)
        prices = tuple([by * (verify[rows] - verify[rows - 1]) for rows in range(spine + 1, most)])
        # All processes of one model must draft the same tree, but their clocks differ.
        return tuple(first_ones(prices)) if self.target.shards > 1 else prices

    @property
    def low(self) -> int:
        """The verify pass's first layer."""
        return 0 if self.drafted.states is None else self.drafter.reuses

    def rows(self) -> Tensor:
        """The verify pass's input, before layer `low`: the pending token and every node, (1, k + 1, D)."""
        text, draft = self.text, self.drafted
        return self.target.embed(text.ids[-1:] + draft.ids, *self.span) if draft.states is None else draft.states

    @property
    def span(self) -> Span:
        """The position and the parents of these rows."""
        return Span(self.text.start, parents_of(self.drafted.nodes))

    @torch.inference_mode()
    def verify(self) -> Judgement:
        """One pass of the remaining layers over the pending token and all drafts, then the acceptance rule."""
        began = time.perf_counter()
        rows, taps = self.rows(), self.drafter.taps
        judged = self.judge(*self.target.verify(self.low, taps, rows, [Segment(self.text.cache, self.span, rows.shape[1])]))
        judged.seconds = time.perf_counter() - began
        return judged

    @torch.inference_mode()
    def judge(self, logits: Tensor, seen: dict[int, Tensor]) -> Judgement:
        """The acceptance rule. logits (k + 1, V): the target's, for every row. The choice of the rule must not depend on the drafts."""
        target, text, draft, sampler = self.target, self.text, self.drafted, self.text.sampler
        ids, first = draft.ids, text.start + 1
        places = [first, *(first + 1 + node.facts.depth for node in draft.nodes)]
        asked, most = [(node.parent + 1, node.id) for node in draft.nodes], max(MOST, self.drafter.ranks)
        if sampler.sampling.rejects and self.drafter.rows == 1:
            uniforms, noise = sampler.uniforms(first, len(ids)), sampler.noise(first, NEXT)
            verdict = by_rejection(ids, sampler.log_probs(logits).exp(), laws_of(draft.nodes, target.vocab), uniforms, noise)
            found = sampler.rank(logits, places, most, None, asked=[*asked, (verdict.next_row, verdict.next_id)])
            next_chance = found.asked.pop()
        else:
            found = sampler.rank(logits, places, most, NEXT if sampler.sampling.rejects else SHARED, asked=asked)
            verdict = by_matching(draft.nodes, [best[0] for best in found.ids])
            next_chance = found.log_probs[verdict.next_row][0]
        text.ranked, self._seen = found, seen | {LOGITS: logits}
        self.judged = self._judgement(verdict, found, next_chance)
        return self.judged

    def _judgement(self, verdict: Verdict, found: Ranked, next_chance: float) -> Judgement:
        """The verdict up to the end of the text, with the target's certainty. found: the rows of the pass. next_chance: log p of the
        verdict's own token."""
        end = self._end_of(verdict.path)
        ends = end is not None
        if ends:
            verdict = verdict._replace(path=verdict.path[:end], rejected=())
        unit = self.text.sampler.sampling.temperature or 1.0
        margins = [min((best[0] - best[1]) * unit, MOST_MARGIN) for best in found.scores]
        if not isfinite(next_chance + sum(log_p for log_p in found.asked if log_p > -inf)):
            raise self.target.no_numbers()
        if self.candidates is not None:
            self.candidates.keep(found, list(verdict.rows[: verdict.accepted + (not ends)]))
        chances = tuple(map(exp, found.asked))
        return Judgement(verdict, chances, exp(next_chance), tuple(margins), ends)

    def _end_of(self, path: Sequence[int]) -> int | None:
        """Number of nodes of the path up to the first one that ends the text; None if none does."""
        ahead, ends = self.watch and self.watch.fork(), self.target.end_ids
        for count, number in enumerate(path, 1):
            id = self.drafted.nodes[number].id
            if ahead:
                ahead.push([id])
            if id in ends or (ahead and ahead.stopped):
                return count
        return None

    def commit(self) -> list[int]:
        """Adds the accepted tokens and the target's own to the text and rolls back the rest. The last token written is the next pending
        token. Controller, drafter and costs learn. Returns the ids that this round wrote."""
        began = time.perf_counter()
        text, draft, judged, verdict = self.text, self.drafted, self.judged, self.judged.verdict
        new = [*(draft.nodes[i].id for i in verdict.path), *([] if judged.ends else [verdict.next_id])]
        start, spine = text.start, draft.spine
        text.ids += new
        self._roll_back(start)
        # An accepted sibling means that the spine was wrong. A node that hangs behind the spine says nothing about it.
        on_spine = sum(map(eq, verdict.path, range(len(spine))))
        self.controller.observe(Outcome.of([node.facts for node in spine], on_spine))
        if self.watch:
            self.watch.push(new)
        if self.watch and self.watch.stopped:
            self.ended = "stop"
        else:
            self.ended = "eos" if new[-1] in self.target.end_ids else None if self.left else "length"
            if self.ended and self.watch and self._last_characters_stop():
                self.ended = "stop"
        text.sampler.forget(text.start)
        text.round += 1
        steps = 0 if self.free else len(spine)
        rest = time.perf_counter() - began
        self.costs.observe(steps, draft.seconds, judged.seconds, rest, len(draft.nodes) - steps, len(new))
        return new

    def _last_characters_stop(self) -> bool:
        """Whether a stop string is completed by text that was held back to the end, such as part of a character."""
        self.watch.flush()
        return self.watch.stopped

    def _roll_back(self, start: int) -> None:
        """Caches keep the accepted rows behind `start`. The new pending token is not in them."""
        text, verdict = self.text, self.judged.verdict
        with torch.inference_mode():
            text.cache.keep(start, verdict.rows[: text.start - start])
            self.drafter.commit(text, self.drafted.nodes, verdict, self._seen)
        lengths = text.cache.lengths
        assert lengths.count(text.start) == len(lengths), "caches out of step"

    def round(self) -> list[int]:
        """A whole round without events. Returns the ids that it wrote."""
        self.plan()
        for _ in self.draft():
            pass
        self.verify()
        return self.commit()

    def rewind(self, sampling: Sampling) -> None:
        """Go back to the end of the prompt, to write another text with other `sampling`."""
        text, target = self.text, self.target
        self.text = Text(text.ids[: self.prompt_length], text.cache, Sampler(sampling, target.vocab, target.device))
        text.cache.truncate(self.text.start)
        self.drafter.commit(self.text, [], None, {})
        self.ended, self.watch = None, self._watch()

    def _watch(self) -> StoppedText | None:
        """A watcher for stop strings behind the prompt; None without stop strings."""
        return StoppedText(Detokenizer(self.target.codec, self.text.ids), self.stop) if self.stop else None


def laws_of(nodes: Sequence[Node], vocab: int) -> Tensor | None:
    """q of every node of a chain, (k, V). None for definite choices, or without nodes."""
    if not nodes or nodes[0].law is None:
        return None
    return torch.stack([node.law.over(vocab) for node in nodes])
