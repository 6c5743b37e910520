"""The loss of a draft distribution over a list of tokens, computed some rows at a time, without keeping distributions or logits for the
gradient.

The gradient with respect to the logits is q - p in every row, so it is taken on to the hidden states at once. The distributions of a batch
in float32 would take 100 MB and more, several times over, and a processor is bound by memory. As in Liger's fused losses (arXiv
2410.10989).
"""

import torch
from torch import Tensor

ROWS = 256  # rows at a time: some 9 MB of logits over 9,000 tokens


class ListedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden: Tensor, rows: Tensor, finals: Tensor | None, columns: Tensor | None) -> Tensor:
        """hidden (n, D), the draft head's input; rows (U, D) of the frozen LM head. Soft targets: finals (n, D), the target head's input.
        Hard targets: columns (n,), places in the list. Returns the mean KL divergence from the target's distribution over the list, or the
        mean cross-entropy."""
        loss, gradient, count = hidden.new_zeros(()), torch.empty_like(hidden), len(hidden)
        for low in range(0, count, ROWS):
            part = slice(low, low + ROWS)
            student = (hidden[part] @ rows.T).float()  # (r, U)
            log_q = student - student.logsumexp(-1, keepdim=True)
            if finals is None:
                picked = columns[part, None]
                loss -= log_q.gather(-1, picked).sum()
                slope = log_q.exp_().scatter_add_(-1, picked, log_q.new_full(picked.shape, -1.0))
            else:
                teacher = (finals[part].to(rows.dtype) @ rows.T).float()
                log_p = teacher.sub_(teacher.logsumexp(-1, keepdim=True))
                p = log_p.exp()
                loss += p.mul(log_p.sub_(log_q)).sum()
                slope = log_q.exp_().sub_(p)
            gradient[part] = (slope.to(rows.dtype) @ rows).to(gradient.dtype)
        ctx.save_for_backward(gradient.div_(count))
        return loss / count

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.saved_tensors[0] * slope, None, None, None


def soft_loss(hidden: Tensor, finals: Tensor, rows: Tensor) -> Tensor:
    return ListedLoss.apply(hidden, rows, finals, None)


def hard_loss(hidden: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    return ListedLoss.apply(hidden, rows, None, columns)
