"""The target's best candidates for every token that a lane wrote. A race keeps them to explain a fork, if there is one.

They stay on the device as tensors until they are needed, so keeping them costs almost nothing. They are not recomputed for display, because
another pass could round differently.
"""

from torch import Tensor

MOST = 5


class Candidates:
    def __init__(self):
        self._rounds: list[tuple[Tensor, Tensor, Tensor]] = []  # for the n tokens of a round: scores, ids, log p, each (n, MOST)

    def keep(self, scores: Tensor, ids: Tensor, log_probs: Tensor) -> None:
        self._rounds.append((scores, ids, log_probs))

    def at(self, token: int, temperature: float, spell) -> list[dict]:
        """The best candidates for the token with this 0-based index, best first: {id, text, probability, behind}.

        `behind`: distance to the best score in logits, including noise. So with shared noise the first is not always the most likely.
        Tokens cut by top-k, top-p or min-p are left out. `spell` turns an id into text.
        """
        for scores, ids, log_probs in self._rounds:
            if token < len(ids):
                behind = ((scores[token, 0] - scores[token]) * (temperature or 1.0)).tolist()
                rows = zip(ids[token].tolist(), log_probs[token].exp().tolist(), behind)
                return [{"id": i, "text": spell(i), "probability": p, "behind": b} for i, p, b in rows if p > 0]
            token -= len(ids)
        return []
