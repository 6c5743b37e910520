from types import SimpleNamespace

import pytest
import torch
from transformers.models.llama.modeling_llama import eager_attention_forward

from eesd_core.model.attention import grouped_attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads, groups, rows, reach", [(4, 2, 1, 64), (4, 4, 5, 128), (6, 1, 16, 64)])
def test_grouped_attention_is_eager_attention(dtype, heads, groups, rows, reach):
    torch.manual_seed(heads)
    query, key, value = (torch.randn(1, h, n, 64).to(dtype) for h, n in ((heads, rows), (groups, reach), (groups, reach)))
    mask = torch.zeros(1, 1, rows, reach, dtype=dtype).masked_fill(torch.rand(rows, reach) < 0.3, torch.finfo(dtype).min)
    module = SimpleNamespace(num_key_value_groups=heads // groups, training=False)
    ours, _ = grouped_attention(module, query, key, value, mask, 64**-0.5)
    theirs, _ = eager_attention_forward(module, query, key, value, mask, 64**-0.5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0 if dtype == torch.bfloat16 else 2e-6)
