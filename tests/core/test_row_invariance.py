"""The self-check finds a model exact when it is, and inexact when any pass depends on its number of rows."""

import copy

import pytest
import torch
from torch import nn

from eesd_core import row_invariance
from eesd_core.limits import MAX_DRAFT
from eesd_core.loading import load_engine
from eesd_core.model.attention import NAME
from eesd_core.model.target import Target
from eesd_core.row_invariance import reach_invariant, row_invariant, self_check


class RowByRow(nn.Module):
    """A decoder layer that takes its rows one after the other: invariant by construction. `off` makes passes of some sizes differ."""

    def __init__(self, layer: nn.Module, off=lambda rows: False):
        super().__init__()
        self.layer, self.off, self.kind = layer, off, layer.kind

    def forward(self, hidden, attention_mask, past_key_values, position_embeddings):
        rows, out = hidden.shape[1], [hidden[:, :0]]
        start = past_key_values.lengths[self.layer.self_attn.layer_idx]
        for j in range(rows):
            mask = attention_mask[:, :, j : j + 1, : past_key_values.extent(start + j + 1)]
            rope = tuple(part[:, j : j + 1] for part in position_embeddings)
            out.append(self.layer(hidden[:, j : j + 1], attention_mask=mask, past_key_values=past_key_values, position_embeddings=rope))
        return torch.cat(out, dim=1) + (1e-3 if self.off(rows) else 0.0)


class HeadRowByRow(nn.Module):
    def __init__(self, head: nn.Module):
        super().__init__()
        self.head = head

    def forward(self, x):
        return torch.cat([self.head(x[:, :0]), *(self.head(x[:, j : j + 1]) for j in range(x.shape[1]))], dim=1)


def row_by_row(engine, off=lambda rows: False, context: int | None = None) -> Target:
    model = copy.deepcopy(engine.target.model)
    model.config.max_position_embeddings = context or model.config.max_position_embeddings
    model.set_attn_implementation("eager")
    target = Target(model, engine.target.tokenizer, "row by row")
    for i, layer in enumerate(target.layers):
        target.layers[i] = RowByRow(layer, off if i == 3 else lambda rows: False)
    model.lm_head = HeadRowByRow(model.lm_head)
    return target


def test_an_invariant_model_is_exact_by_construction(engine):
    assert self_check(row_by_row(engine)) == "exact-by-construction"


def test_one_layer_that_counts_rows_is_found(engine):
    assert self_check(row_by_row(engine, lambda rows: rows > 1)) == "exact-as-observed"


@pytest.mark.parametrize("rows", range(2, MAX_DRAFT + 2))
def test_every_size_of_a_verify_pass_is_tried(engine, rows):
    """A promise by construction covers every pass that the engine may make: 2 .. MAX_DRAFT + 1 rows."""
    assert not row_invariant(row_by_row(engine, lambda n: n == rows))


@pytest.mark.parametrize("extent", [128, 192])
def test_every_end_of_a_block_is_tried(engine, extent):
    """Where a pass looks at one block of the cache more than its first row alone does, sums over positions may differ."""
    target = row_by_row(engine)
    exact = target.layers[0].forward

    def off(hidden, **how):
        return exact(hidden, **how) + (1e-3 if how["attention_mask"].shape[-1] == extent else 0.0)

    assert row_invariant(target)
    target.layers[0].forward = off
    assert not row_invariant(target)


def test_attention_whose_sum_depends_on_how_far_it_looks_is_found(engine, monkeypatch):
    """In double precision sums hardly differ, but the last step of the cache changes one number in 500: bf16 kernels change fewer."""
    target = copy.copy(engine.target)
    target.config, target.context = copy.copy(target.config), 192
    target.config._attn_implementation = NAME

    def attention(module, queries, keys, values, mask, scaling, off=False):
        chances = (queries.double() @ keys.double().repeat_interleave(2, 1).transpose(2, 3) * scaling + mask).softmax(-1)
        out = (chances @ values.double().repeat_interleave(2, 1)).transpose(1, 2).float()
        return out + (torch.rand(out.shape) < 2e-3) * (off and keys.shape[2] == 192), None

    monkeypatch.setattr(row_invariance, "grouped_attention", attention)
    assert reach_invariant(target)
    monkeypatch.setattr(row_invariance, "grouped_attention", lambda *given, **how: attention(*given, **how, off=True))
    assert not reach_invariant(target)


@pytest.mark.parametrize("context", [48, 128, 192])
def test_a_short_context_can_be_checked(engine, context):
    assert row_invariant(row_by_row(engine, context=context))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_promise_holds(model_folder, dtype):
    """Whatever the check says of this processor, a promised identity is kept: every pass size, row for row."""
    engine = load_engine(str(model_folder), device="cpu", dtype=dtype)
    if engine.level != "exact-by-construction":
        pytest.skip("this processor's kernels depend on the number of rows for so small a model: nothing is promised")
    target, ids = engine.target, list(range(40, 56))

    @torch.inference_mode()
    def passes(sizes: list[int]) -> torch.Tensor:
        cache, parts, at = target.new_cache(len(ids)), [], 0
        for size in sizes:
            hidden = target.run_range(0, 2, target.embed(ids[at : at + size], at), cache, at)
            parts.append(target.logits(target.run_range(2, target.depth, hidden, cache, at)))
            at += size
        return torch.cat(parts)

    single = passes([1] * 16)
    assert all(torch.equal(passes(sizes), single) for sizes in ([16], [2] * 8, [3, 4, 5, 4], [7, 9], [1, 15], [6, 10], [13, 3]))
