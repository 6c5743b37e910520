"""The block head and its drafter: the fast ways are the plain ones, a block of any length begins a longer one, and a round's drafts cost
one step, however many there are."""

import pytest
import torch
from head_rounds import difference, moved
from test_costs import MEASURED

from eesd_core.control import Costs
from eesd_core.costs import CostTracker
from eesd_core.draft.base import Parts, Text
from eesd_core.draft.block import BlockDrafter
from eesd_core.errors import UserError
from eesd_core.heads.block import BlockHead
from eesd_core.heads.shortlist import Shortlist
from eesd_core.sampling import Sampler, Sampling
from eesd_core.train.lessons import states_of

IDS = torch.randint(0, 257, (1, 24), generator=torch.Generator().manual_seed(4))
START = torch.tensor([[*range(6), *[6] * 4, *[10] * 6, 16, 17, 17, *[19] * 5]])


@pytest.fixture(scope="module")
def head(engine) -> BlockHead:
    return moved(BlockHead(engine.target))


def test_rows_by_parts_are_those_of_the_whole_layer(engine, head, monkeypatch):
    states = states_of(engine.target, IDS, head.taps)
    found = head.rows_hidden(engine.target, IDS, states, START)
    monkeypatch.setattr(BlockHead, "_by_parts", BlockHead._by_layer)
    torch.testing.assert_close(found, head.rows_hidden(engine.target, IDS, states, START), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [1, 5])
def test_with_a_window_drafting_sees_what_training_saw(engine, window, monkeypatch):
    head = moved(BlockHead(engine.target, longest=3, rank=8))
    kind = head.layers[0].kind._replace(window=window)
    monkeypatch.setattr(head.layers[0], "kind", kind)
    monkeypatch.setitem(engine.target._steps, window, engine.target._make_mask(16, engine.target.context - 1, 600, window))
    assert difference(engine.target, head, "block", rounds=((3, 3), (2, 0), (3, 1))) < 2e-5


def drafting(engine, head, length: int) -> tuple[BlockDrafter, Text]:
    """Ready to draft behind the first tokens of IDS."""
    target, ids = engine.target, IDS[0, :length].tolist()
    drafter = BlockDrafter(Parts(target, None, 40, {"block": head}))
    text = Text(ids, target.new_cache(40), Sampler(Sampling(), target.vocab, target.device))
    drafter.begin(text, {tap: states[:, : length - 1] for tap, states in states_of(target, IDS, head.taps).items()})
    return drafter, text


def drafts(drafter: BlockDrafter, text: Text, room: int) -> list:
    nodes = []
    while more := drafter.extend(text, nodes, room - len(nodes)):
        nodes += more
    return nodes


@torch.inference_mode()
def test_a_short_block_begins_a_longer_one(engine, head):
    short, long = (drafts(*drafting(engine, head, 9), room) for room in (2, 15))
    assert (len(short), len(long)) == (2, head.longest)
    assert [node.id for node in long[:2]] == [node.id for node in short]
    assert [node.probability for node in long[:2]] == pytest.approx([node.probability for node in short], abs=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("listed", [False, True])
def test_one_product_for_all_places_gives_each_places_own_logits(engine, listed):
    """The change by the token before is added behind the LM head; it could stand in front of it."""
    head = moved(BlockHead(engine.target))
    if listed:
        head.read_only(Shortlist(engine.target, torch.arange(0, 257, 2)))
    drafter, text = drafting(engine, head, 12)
    made, logits = [], head.logits

    def both(target, normed, words):
        made.append((logits(target, normed, words), logits(target, normed, drafter.words)))
        return made[-1][0]

    head.logits = both
    nodes = drafts(drafter, text, 6)
    assert len(made) == len(nodes) == 6
    for fast, plain in made:
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)


def test_all_drafts_of_a_round_cost_one_step():
    costs = Costs(0.0, (1.0, 1.25, 1.5, 1.75), 0.5, first=0.25)
    assert [costs.round(k) for k in range(4)] == [1.5, 2.0, 2.25, 2.5]
    assert costs.relative(2) == pytest.approx([1.0, 2.0 / 1.5, 1.5])
    tracker = CostTracker(MEASURED, 0, 0.2, at_once=True)
    step = 0.2 * MEASURED.plain
    assert tracker.costs().first == pytest.approx(step) and tracker.costs().draft == 0
    for drafted in (1, 6, 3) * 40:
        tracker.observe(drafted, 1.5 * step, MEASURED.full[1], 0.001)
    assert tracker.costs().first == pytest.approx(1.5 * step, rel=1e-2)


@pytest.mark.parametrize("bad", [{"longest": 0}, {"longest": 16}, {"rank": 0}, {"rank": 65}, {"taps": [0, 2]}, {"taps": [2, 1]}])
def test_settings_that_do_not_fit_are_refused(engine, bad):
    with pytest.raises(UserError):
        BlockHead(engine.target, **bad)
