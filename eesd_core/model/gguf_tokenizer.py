"""The tokenizer of a GGUF file: byte-level BPE, cut into words as the file's pre-tokenizer says.

GGUF names a pre-tokenizer and leaves its rules to the reader; these are llama.cpp's. An unknown one is refused, because another's rules
would tokenise some texts wrongly without anybody noticing.
"""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ..errors import UserError

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)  # with GPT-2's own splitting rule
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {
    "gpt-2": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), BYTES]),
}
WHOLE_WORDS = {"llama-bpe"}  # a word that is itself a token is taken whole, without merges
CONTROL, USER_DEFINED = 3, 4  # token types
ENDS = {"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"}  # llama.cpp ends a text at these, by name


def build_tokenizer(facts: dict[str, Any], name: str) -> PreTrainedTokenizerFast:
    """From a file's metadata. Raises UserError, naming what is not supported; any other exception means that the file is broken."""
    kind, pre = facts["tokenizer.ggml.model"], facts.get("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        which = f"pre-tokenizer {pre!r}" if kind == "gpt2" else f"tokenizer {kind!r}"
        raise UserError(f"{name} has {which}, which is not supported ({', '.join(PRE_TOKENIZERS)} are): give its transformers checkpoint")
    tokens, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    bpe = models.BPE({token: i for i, token in enumerate(tokens)}, merges, ignore_merges=pre in WHOLE_WORDS)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer, tokenizer.decoder = PRE_TOKENIZERS[pre], decoders.ByteLevel()
    named = {CONTROL: True, USER_DEFINED: False}
    tokenizer.add_tokens([AddedToken(t, special=named[k], normalized=False) for t, k in zip(tokens, kinds) if k in named])
    if facts.get("tokenizer.ggml.add_bos_token"):
        begin = facts["tokenizer.ggml.bos_token_id"]
        tokenizer.post_processor = processors.TemplateProcessing(single=[tokens[begin], "$A"], special_tokens=[(tokens[begin], begin)])
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {role: facts.get(f"tokenizer.ggml.{key}_token_id") for role, key in roles.items()}
    special = {role: tokens[id] for role, id in ids.items() if id is not None}
    built = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)
    built.chat_template = facts.get("tokenizer.chat_template")
    return built


def end_ids(facts: dict[str, Any]) -> list[int]:
    """The tokens that end a text: those that the file names, and control tokens with a name in ENDS."""
    tokens, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    named = {i for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind == CONTROL and token in ENDS}
    given = {facts.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")} - {None}
    return sorted(named | given)
