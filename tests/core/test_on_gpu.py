"""What only a GPU can show: CUDA graphs, their steps without a sync, and the device's own clock. Skipped without one."""

import pytest
import torch
from tiny import EXIT_AFTER, byte_tokenizer, tiny_model

from eesd_core.backends import backend
from eesd_core.engine import Engine
from eesd_core.heads.exit_layer import ExitLayer
from eesd_core.model.attention import NAME
from eesd_core.model.cuda.graph_steps import DeviceSteps
from eesd_core.model.target import Target
from eesd_core.racing import race
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.sampling import Sampling
from eesd_core.timed import timed_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SAMPLINGS = {"greedy": Sampling(), "top-p": Sampling(0.8, 0.95, 7), "cuts": Sampling(0.9, seed=3, top_k=5, min_p=0.1)}
TAPS = {"chain": (), "taps": (3, 4)}


@pytest.fixture(scope="module", params=TAPS.values(), ids=TAPS)
def on_gpu(request) -> Engine:
    model = tiny_model(1, 0.2).to("cuda")
    model.set_attn_implementation(NAME)
    target = Target(model, byte_tokenizer(), "tiny")
    layer = ExitLayer(target, EXIT_AFTER, taps=request.param).eval()
    if layer.mix:
        layer.mix.weight.data.normal_(0, 0.05, generator=torch.Generator("cuda").manual_seed(4))
    return Engine(target, layer, "exact-as-observed")


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("length", [0, 3, 15])
def test_graphs_write_what_plain_steps_write(on_gpu, sampling, length):
    request = Request("Once upon a time", 60, sampling, controller="fixed", settings={"length": length})
    layer, capacity = on_gpu.exit_layer_at(sampling), len(on_gpu.encode(request)) + 60
    graphs, plain = (timed_run(on_gpu, request, DeviceSteps(on_gpu.target, layer, capacity, sampling, use)) for use in (True, False))
    assert not graphs.note and graphs.ids == plain.ids and graphs.draft_lengths == plain.draft_lengths


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_no_step_waits_for_the_device(on_gpu, sampling):
    steps = DeviceSteps(on_gpu.target, on_gpu.exit_layer, 64, sampling, graphs=False)
    steps.begin([40, 41, 42])
    drafting, verifying = steps._parts(3)
    steps.place.copy_(steps.at)
    steps.drafted.fill_(3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            for _, step in (*drafting, verifying):
                step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_a_race_stays_on_the_device(on_gpu, sampling):
    request = Request("Once upon a time", 60, sampling, controller="beta")
    assert backend(on_gpu, request) == "device"
    records = list(race(on_gpu, request))
    lanes = {name: fold(records, name) for name in ("vanilla", "eesd")}
    assert all(lane.backend == "device" and len(lane.token_ids) == 60 for lane in lanes.values())
    verdict = records[-1].event
    assert verdict.identical or verdict.first_difference["margin"] < 1e-3
    stages = [(round.verdict.draft_seconds, round.verdict.verify_seconds) for round in lanes["eesd"].rounds]
    assert all(drafting > 0 and verifying > 0 for drafting, verifying in stages)
    assert sum(map(sum, stages)) <= lanes["eesd"].clock
