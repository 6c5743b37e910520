"""Names of control tokens, such as <|im_end|>, and a tokenizer in which no text can write them.

A tokenizer finds the names of its added tokens in any text. In a visitor's text they must stay text, or a request could end itself and go
on as the model's reply. So there is a second tokenizer: the first one with secret names. The ids are the same, and nobody can spell them.

`facts` is a tokenizer.json (huggingface/tokenizers), read.
"""

import json
import string

from tokenizers import Tokenizer


def control_tokens(facts: dict, template: str) -> dict[int, str]:
    """Id and name of the added tokens that are no text: special ones, those with punctuation in them, and those the chat template writes.

    Left out are words and white space that somebody added to the vocabulary: a text means them as they are. So are special tokens that
    merging letters gives as well (such as "!" for padding): text may hold them.
    """
    found, spelled = {}, _spelled(facts)
    for token in facts["added_tokens"]:
        name = token["content"]
        written = not name.isspace() and (any(c in string.punctuation for c in name) or name in template)
        if (token["special"] or written) and name not in spelled:
            found[token["id"]] = name
    return found


def rename(facts: dict, names: dict[str, str]) -> Tokenizer:
    """The tokenizer with other names for some of its added tokens; ids stay."""
    model = dict(facts["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(name, name): id for name, id in model["vocab"].items()}
    else:  # Unigram: pieces with their scores, in the order of their ids
        model["vocab"] = [[names.get(name, name), score] for name, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    added = [token | {"content": names.get(token["content"], token["content"])} for token in facts["added_tokens"]]
    renamed = Tokenizer.from_str(json.dumps(facts | {"model": model, "added_tokens": added}))
    assert all(renamed.token_to_id(new["content"]) == new["id"] for new in added), "renaming tokens has moved ids"
    return renamed


def _spelled(facts: dict) -> set[str]:
    """Added tokens that byte-pair encoding makes of plain letters, too."""
    model = facts["model"]
    if model["type"] != "BPE":
        return set()
    merged = {pair.replace(" ", "", 1) if isinstance(pair, str) else "".join(pair) for pair in model["merges"]}
    names = {token["content"] for token in facts["added_tokens"]}
    return {name for name in names if name in model["vocab"] and (len(name) == 1 or name in merged)}
