"""The target's best candidates for every token a lane wrote. A race keeps them for one purpose: to lay open a fork, if there is one.

They stay tensors on the device until somebody asks, so that keeping them costs next to nothing; what is shown is what decided, not computed
again: another pass could round differently.
"""

from torch import Tensor

MOST = 5


class Candidates:
    def __init__(self):
        self._rounds: list[tuple[Tensor, Tensor, Tensor]] = []  # scores, ids, log p of a round's written tokens, each (n, MOST)

    def keep(self, scores: Tensor, ids: Tensor, log_probs: Tensor) -> None:
        self._rounds.append((scores, ids, log_probs))

    def at(self, token: int, temperature: float, spell) -> list[dict]:
        """The best candidates for the token with this 0-based index, best first: {id, text, probability, behind}.

        `behind` is what it lacks to the best, in logits, noise included where there is any. With shared noise the best is therefore not
        always the likeliest. What top-k, top-p or min-p has cut is left out. `spell` turns an id into text.
        """
        for scores, ids, log_probs in self._rounds:
            if token < len(ids):
                behind = ((scores[token, 0] - scores[token]) * (temperature or 1.0)).tolist()
                rows = zip(ids[token].tolist(), log_probs[token].exp().tolist(), behind)
                return [{"id": i, "text": spell(i), "probability": p, "behind": b} for i, p, b in rows if p > 0]
            token -= len(ids)
        return []
