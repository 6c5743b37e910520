"""Whatever a trained head drafts, the text is vanilla's: every kind, untrained, on several prompts, greedy and with shared noise, with
three controllers."""

import pytest
from test_engine import reference

from eesd_core.draft.registry import DRAFTERS
from eesd_core.engine import Engine
from eesd_core.heads.kinds import KINDS, kind_of
from eesd_core.request import Request
from eesd_core.sampling import Sampling

PROMPTS = ("Once upon a time", "one two, one two, one t")
RULES = {"greedy": Sampling(), "shared noise": Sampling(0.8, seed=11)}
CONTROLLERS = {"fixed": {"length": 4}, "beta": {}, "throughput": {}}
TOKENS = 24


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_vanillas(engine, kind, rule):
    whole = Engine(engine.target, None, engine.level, {kind: kind_of(kind)(engine.target)})
    drafter = next(row.name for row in DRAFTERS.values() if row.needs_head == kind)
    drafted = 0
    for prompt in PROMPTS:
        expected = reference(engine, prompt, TOKENS, RULES[rule])
        for controller, settings in CONTROLLERS.items():
            asked = Request(prompt, TOKENS, RULES[rule], controller=controller, settings=settings, drafter=drafter)
            events = [record.event for record in whole.run(asked)]
            assert [id for event in events if event.type == "tokens_committed" for id in event.ids] == expected, (prompt, controller)
            drafted += sum(event.type == "draft_token" for event in events)
    assert drafted > len(PROMPTS) * TOKENS


def test_every_drafter_with_a_head_is_here():
    assert {row.needs_head for row in DRAFTERS.values() if row.needs_head} == set(KINDS)
