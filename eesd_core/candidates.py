"""The target's best candidates for every token that a lane wrote. A race keeps them to explain a fork, if there is one.

They are not recomputed for display, because another pass could round differently.
"""

from math import exp

from .sampling import Ranked

MOST = 5


class Candidates:
    def __init__(self):
        self._rows: list[tuple[list[int], list[float], list[float]]] = []  # of every token: ids, scores, log p of the best

    def keep(self, found: Ranked, rows: list[int]) -> None:
        """The rows of a pass that wrote a token each."""
        self._rows += [(found.ids[row][:MOST], found.scores[row][:MOST], found.log_probs[row][:MOST]) for row in rows]

    def at(self, token: int, temperature: float, spell) -> list[dict]:
        """The best candidates for the token with this 0-based index, best first: {id, text, probability, behind}.

        `behind`: distance to the best score in logits, including noise. So with shared noise the first is not always the most likely.
        Tokens cut by top-k, top-p or min-p are left out. `spell` turns an id into text.
        """
        if token >= len(self._rows):
            return []
        ids, scores, log_probs = self._rows[token]
        behind = [(scores[0] - score) * (temperature or 1.0) for score in scores]
        rows = zip(ids, map(exp, log_probs), behind)
        return [{"id": i, "text": spell(i), "probability": p, "behind": b} for i, p, b in rows if p > 0]
