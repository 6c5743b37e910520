"""The early-exit drafter: the target's first N layers and the exit layer (EESD, Section 3.1 and Figure 2).

Every draft token passes the first N layers once. The hidden states are kept, so verification starts from them and runs only the
remaining layers. The last draft passes the first N layers too, because its row yields the bonus token.

Siblings are the exit layer's next best tokens beside the spine, as many as pay (tree.py). The tree is ours, since the paper's is not
public. Siblings need states of the first N layers too, so drafting ends with one pass over the whole tree.
"""

from collections.abc import Sequence
from threading import get_ident
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..heads.base import Asked, Head
from ..limits import MAX_ROWS
from ..model.span import DraftRow, Segment, Span, packed
from ..sampling import Ranked
from ..verify import Verdict
from .base import LOGITS, Drafter, Node, Parts, Room, Step, Text, last_id, parents_of
from .choose import choose, guesses, node_of
from .tree import grow

if TYPE_CHECKING:
    from ..model.cpu.draft_step import TextDraft


class EarlyExitDrafter(Drafter):
    width = 4  # tokens ranked per place in a tree
    keeps_law = False  # whether nodes know their distribution even where no rule needs it

    def __init__(self, parts: Parts, rows: int = 1):
        """`rows`: siblings may fill up a verify pass to this many rows; 1: a chain."""
        self.target, self.exit_layer, capacity = parts.target, parts.exit_layer, parts.capacity
        self.rows = rows
        self.reuses = self.exit_layer.exit_after
        self.taps = (self.reuses, *self.exit_layer.taps)
        self.cache = self.exit_layer.new_cache(self.target, capacity)
        self.words = self.exit_layer.words()
        width = self.target.config.hidden_size
        kind = {"dtype": self.target.stream, "device": self.target.device}
        self.states = torch.zeros(1, capacity, width, **kind)
        # Row t + 1 holds the deep states of position t, concatenated over taps. Row 0 stands for "nothing verified yet".
        self.deep = torch.zeros(1, capacity + 1, width * len(self.exit_layer.taps), **kind)
        self.verified = 0  # number of verified positions
        self.tree: Tensor | None = None  # states of this round's rows, (1, m, D); None: a chain, whose states are in `states`
        self.step, self.step_for = None, None  # see `_step_of`, and the sampler and the thread that it is for
        self.ready: Tensor | Ranked | None = None  # what `step_together` found behind the last node: logits, (1, V) or (1, S), or the best

    def begin(self, text: Text, seen: dict[int, Tensor]) -> None:
        states = seen[self.reuses]  # (1, n, D)
        count = states.shape[1]
        self.states[:, :count] = states
        self._see(text, seen, count)
        if count:
            self.exit_layer(self.target, states, self.cache, 0, self._deep(0, count, count))

    def extend(self, text: Text, nodes: Sequence[Node], room: int) -> list[Node]:
        """The exit layer reads all positions that it has missed in the same pass. It misses the last draft when all were accepted, and
        every token of rounds without drafts."""
        found, self.ready = self.ready, None
        width = self.width if self.rows > 1 else 1
        if found is None and text.cache.lengths[0] <= text.start + len(nodes) and self._step_of(text):
            (found,) = draft_in_one([Step(self, text, last_id(text, nodes), text.start + len(nodes), True)])
        if found is None:
            found = self.exit_layer(self.target, *self._asked(text, self._shallow(text, nodes)))  # (1, V) or (1, S)
        if isinstance(found, Ranked):
            return [node_of(text, nodes, found, width)]
        return [choose(text, nodes, found, self.words and self.words.ids, width, self.keeps_law)]

    def _step_of(self, text: Text) -> "TextDraft | None":
        """The text's part of draft steps in one region; None where this is not possible."""
        sampler, cache, width = text.sampler, text.cache, self.width if self.rows > 1 else 1
        if self.step_for != (sampler, get_ident()):
            fits = self.target.steps and sampler.ranker and not self.keeps_law
            memory = cache, self.cache, self.states, self.deep
            self.step = fits and self.target.steps.text_draft(self.exit_layer, sampler.ranker, max(width, 2), *memory)
            self.step_for = sampler, get_ident()
        return self.step

    def _missed(self, text: Text, position: int) -> Asked | None:
        """Positions before this one that the exit layer has not read."""
        gap = self.cache.lengths[0]
        if gap == position:
            return None
        return Asked(self.states[:, gap:position], self.cache, gap, self._deep(gap, position, text.start), self.words)

    def _row(self, step: Step) -> DraftRow:
        """This text's row in a draft step."""
        text = step.text
        return DraftRow(self.step, step.id, step.position, step.goes, text.start, text.round, self.words)

    def shared(self, text: Text) -> Head | None:
        return self.exit_layer if self.rows == 1 and type(self) is EarlyExitDrafter else None  # subclasses draft in other ways too

    @staticmethod
    def step_together(steps: Sequence[Step]) -> None:
        """One pass through the first N layers and one through the exit layer."""
        kept_up = sorted(zip(_kept_up(steps), steps), key=lambda both: not both[0].goes)
        if all(step.drafter._step_of(step.text) for step in steps):
            for (_, step), found in zip(kept_up, draft_in_one([kept for kept, _ in kept_up])):
                step.drafter.ready = found if step.goes else None
            return
        first = steps[0].drafter
        target, layers = first.target, list(first.target.layers)[: first.reuses]
        hidden = torch.cat([target.embed([step.id], step.position) for step in steps], 1)
        hidden = target.run_together(layers, hidden, [Segment(step.text.cache, Span(step.position), 1) for step in steps])
        for step, state in zip(steps, hidden.split(1, 1)):
            step.drafter.states[:, step.position : step.position + 1] = state
        going = [(step, step.drafter._asked(step.text, step.position)) for kept, step in kept_up if kept.goes]
        for chosen in packed([asked.states.shape[1] for _, asked in going]):
            made = first.exit_layer.forward_together(target, [going[i][1] for i in chosen])
            for i, logits in zip(chosen, made):
                step = going[i][0]
                step.drafter.ready = logits if step.goes else None

    def branch(self, text: Text, nodes: Sequence[Node], room: Room) -> list[Node]:
        return grow(nodes, room)

    def finish(self, text: Text, nodes: Sequence[Node]) -> Tensor:
        parents = parents_of(nodes)
        if parents or text.cache.lengths[0] < text.start + len(nodes):  # a tree, or nodes that a subclass drafted without the exit layer
            text.cache.truncate(text.start)
            hidden = self.target.embed([text.ids[-1], *(node.id for node in nodes)], text.start, parents)
            self.tree = self.target.run_range(0, self.reuses, hidden, text.cache, text.start, parents)
            return self.tree
        self.tree = None
        position = self._shallow(text, nodes)
        return self.states[:, text.start : position + 1]

    def _shallow(self, text: Text, nodes: Sequence[Node]) -> int:
        """Runs the last token through the first N layers, unless that is done, and keeps its state. Returns its position."""
        position = text.start + len(nodes)
        if text.cache.lengths[0] > position:
            return position
        if self._step_of(text):
            draft_in_one([Step(self, text, last_id(text, nodes), position, False)])
        else:
            hidden = self.target.embed([last_id(text, nodes)], position)
            self.states[:, position : position + 1] = self.target.run_range(0, self.reuses, hidden, text.cache, position)
        return position

    def _asked(self, text: Text, position: int) -> Asked:
        """The exit layer's input: everything up to this position that it has not read yet."""
        gap = self.cache.lengths[0]
        deep = self._deep(gap, position + 1, text.start)
        return Asked(self.states[:, gap : position + 1], self.cache, gap, deep, self.words)

    def commit(self, text: Text, nodes: Sequence[Node], verdict: Verdict | None, seen: dict[int, Tensor]) -> None:
        self.cache.truncate(text.start)
        if verdict is None:  # the text was cut back, so its token list starts again
            self.verified, self.words = 0, self.exit_layer.words()
            seen = {}
        elif not nodes:  # the verify pass may have begun with the first layer (Run.whole)
            self.states[:, self.verified : text.start] = seen[self.reuses]
        elif self.tree is not None:  # the exit layer's cache holds the spine: keep the accepted rows that are on it
            old, rows = self.verified, verdict.rows[: text.start - self.verified]
            self.states[:, old : text.start] = self.tree[:, rows]
            self.cache.truncate(old + next((i for i, row in enumerate(rows) if row != i), len(rows)))
            seen = {depth: states[:, rows] for depth, states in seen.items() if depth != LOGITS}
        self._see(text, seen, text.start)

    def read_on(self, text: Text) -> tuple[int, list[int]]:
        """The exit layer reads the verified tokens that it has not read. Returns the place behind the first of them, and what it would have
        drafted behind each."""
        gap, end = self.cache.lengths[0], text.start
        hidden = self.exit_layer.hidden(self.target, self.states[:, gap:end], self.cache, gap, self._deep(gap, end, text.start))
        logits = self.exit_layer.logits(self.target, hidden, self.words)
        return gap + 1, guesses(text, gap + 1, logits, self.words and self.words.ids)

    def _see(self, text: Text, seen: dict[int, Tensor], start: int) -> None:
        """Records that all positions before `start` are verified. `seen`: states of the newly verified rows, perhaps followed by more."""
        if self.words:
            self.words.see(text.ids[self.verified :])
        rows = start - self.verified
        if self.exit_layer.taps and seen:
            place = self.deep.narrow(1, self.verified + 1, rows)
            torch.cat([seen[tap].narrow(1, 0, rows) for tap in self.exit_layer.taps], -1, out=place)
        self.verified = start

    def _deep(self, low: int, high: int, start: int) -> Tensor | None:
        """Deep states that the exit layer reads at positions low .. high - 1 while `start` is pending: those of the last row verified
        before each of them, (1, high - low, taps D). None without taps."""
        if not self.exit_layer.taps:
            return None
        return self.deep[:, torch.arange(low, high).clamp(max=start)]


def draft_in_one(steps: Sequence[Step]) -> list[Ranked]:
    """The next step of several texts that share an exit layer, in one region (model/cpu/draft_step.py), after the exit layer has read what
    it missed. Those that go come first; returns the best tokens behind them. At most MAX_ROWS texts."""
    first = steps[0].drafter
    asked = [missed for step in steps if step.goes and (missed := step.drafter._missed(step.text, step.position))]
    few = [each for each in asked if each.states.shape[1] <= MAX_ROWS]
    for each in asked:
        if each.states.shape[1] > MAX_ROWS:
            first.exit_layer.run(first.target, each.states, each.cache, each.start, each.deep)
    for chosen in packed([each.states.shape[1] for each in few]):
        first.step.step.read([few[i] for i in chosen])
    return first.step.step([step.drafter._row(step) for step in steps])


def _kept_up(steps: Sequence[Step]) -> list[Step]:
    """With several texts the exit layer reads the rows of those too that do not draft behind them: if one text has all drafts accepted, or
    begins to draft again, a pass to read what it has missed takes longer. It cannot read on where it has missed a position already."""
    if len(steps) == 1:
        return list(steps)
    return [step._replace(goes=True) if step.drafter.cache.lengths[0] == step.position else step for step in steps]
