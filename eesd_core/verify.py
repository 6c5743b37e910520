"""Acceptance rules: pure functions. They do not know who drafted.

Rejection sampling is not here yet: this rule serves greedy decoding and shared noise, where draft and target make definite choices.
"""

from collections.abc import Sequence


def count_matches(draft_ids: Sequence[int], target_ids: Sequence[int]) -> int:
    """Length of the longest prefix of the draft that equals the target's own choices.

    `target_ids` has one entry more than `draft_ids`: after `n` accepted drafts the text goes on with `target_ids[n]`, the correction
    when n < len(draft_ids) and the bonus when all were accepted. So every token written is the target's choice.
    """
    accepted = 0
    while accepted < len(draft_ids) and draft_ids[accepted] == target_ids[accepted]:
        accepted += 1
    return accepted
