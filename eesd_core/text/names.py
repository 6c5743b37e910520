"""Names of control tokens, such as <|im_end|>, and a tokenizer for which no text contains them.

A tokenizer finds the names of its added tokens in any text. In a visitor's text they must stay text, otherwise a request could end itself
and continue as the model's reply. So there is a second tokenizer with the same ids but secret names, which nobody can write.

`facts` is the parsed tokenizer.json (huggingface/tokenizers).
"""

import json
import string

from tokenizers import Tokenizer


def control_tokens(facts: dict, template: str) -> dict[int, str]:
    """Id and name of the added tokens that are not text: special ones, those with punctuation, and those that the chat template writes.

    Left out are words and white space added to the vocabulary, since in a text they mean themselves, and special tokens that byte-pair
    merges also produce (such as "!" for padding), since a text may contain them.
    """
    found, spelled = {}, _spelled(facts)
    for token in facts["added_tokens"]:
        name = token["content"]
        written = not name.isspace() and (any(c in string.punctuation for c in name) or name in template)
        if (token["special"] or written) and name not in spelled:
            found[token["id"]] = name
    return found


def rename(facts: dict, names: dict[str, str]) -> Tokenizer:
    """The tokenizer with some added tokens renamed (`names`: old -> new). Their ids stay the same."""
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
    """Names of added tokens that byte-pair merges also produce from plain letters."""
    model = facts["model"]
    if model["type"] != "BPE":
        return set()
    merged = {pair.replace(" ", "", 1) if isinstance(pair, str) else "".join(pair) for pair in model["merges"]}
    names = {token["content"] for token in facts["added_tokens"]}
    return {name for name in names if name in model["vocab"] and (len(name) == 1 or name in merged)}
