"""The trained heads that are shipped for smollm2: all of them load, draft in one region where there is one for their kind, and write
vanilla's text."""

import pytest

from eesd_core.loading import load_engine
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.sampling import Sampling

KINDS = ("block", "chimera", "feature", "glide", "hidden-transfer")
PROMPT = "Name three birds that cannot fly, and say where each of them lives."


@pytest.fixture(scope="module")
def shipped(smollm2):
    return load_engine("smollm2", quantize="q8")


def test_every_kind_is_shipped_and_reads_the_exit_layers_list(shipped):
    assert sorted(shipped.heads) == list(KINDS)
    assert all(head.shortlist is shipped.exit_layer.shortlist for head in shipped.heads.values())


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, seed=3)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("kind", KINDS)
def test_its_text_is_vanillas(shipped, kind, sampling):
    def lane(method: str):
        request = Request(PROMPT, 32, sampling, method, "fixed", {"length": 4}, chat=True, drafter=kind)
        return fold(shipped.run(request), method)

    found = lane("eesd")
    assert found.token_ids == lane("vanilla").token_ids
    assert sum(round.verdict.accepted for round in found.rounds) > 3
