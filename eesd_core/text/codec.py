"""Text to token ids and back, for one model. It needs the tokenizer and two small files, not the weights.

A codec is thread-safe: it has its own tokenizers and never changes their settings after construction. (transformers changes settings of its
one tokenizer from call to call.)
"""

import json
import secrets
from collections.abc import Sequence
from functools import cached_property, lru_cache

from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from ..errors import UserError
from .chat import Chat, Message
from .names import control_tokens, rename

REMEMBERED = 32  # prompts whose ids are cached: both lanes of a race, and the check before it, encode the same prompt


class Codec:
    """`special_ids`: tokens that are not text, namely special tokens and those that end a text (`end_ids`)."""

    def __init__(self, tokenizer, end_ids: frozenset[int], rows: int, owner: str):
        """`tokenizer`: transformers' tokenizer. `rows`: rows of the model's embedding. `owner`: the model's name for error messages. Raises
        UserError for a tokenizer that is not from the library `tokenizers`."""
        try:
            facts = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        except Exception:  # tokenizers written in Python have no backend, or one that cannot be serialised
            raise UserError(f"the tokenizer of {owner} cannot be used: it must have a tokenizer.json") from None
        self.end_ids, self.rows, self.owner = end_ids, rows, owner
        names, secret = control_tokens(facts, str(tokenizer.chat_template or "")), secrets.token_hex(8)
        spelled = {id: f"{secret}{id:08d}" for id in names}
        self._plain, self._secrets = rename(facts, {}), {name: spelled[id] for id, name in names.items()}
        chat = tokenizer, self._plain, lambda: self._renamed, names, spelled, owner
        self._chat = Chat(*chat) if tokenizer.chat_template else None
        special = {token["id"]: token["content"] for token in facts["added_tokens"] if token["special"]}
        self._names = special | {id: self._plain.id_to_token(id) or "" for id in end_ids - special.keys()}
        self.special_ids = frozenset(self._names)
        self._word = self._find_word()
        self._encoded = lru_cache(REMEMBERED)(self._encode)
        self._pieces: dict[int, str] = {}

    @classmethod
    def load(cls, model: str, revision: str | None = None, owner: str = "") -> "Codec":
        """Loads from a folder or a Hub id, without the weights. Raises UserError if the files cannot be read."""
        how = {"revision": revision, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(model, **how)
            tokenizer = AutoTokenizer.from_pretrained(model, **how)
            try:
                generation = GenerationConfig.from_pretrained(model, revision=revision)
            except OSError:  # without this file, config.json has the end tokens
                generation = GenerationConfig.from_model_config(config)
        except Exception as problem:  # transformers does not document which exceptions loading can raise
            reason = " ".join(str(problem).split())[:200]
            raise UserError(f"the tokenizer of {model} cannot be read ({reason}): check the name, the files and the network") from None
        return cls(tokenizer, end_ids_of(generation), config.get_text_config().vocab_size, owner or model)

    @cached_property
    def _renamed(self) -> Tokenizer:
        """Made when first asked for: it takes a tenth of a second and 14 MB with 49,152 tokens, and most conversations need none."""
        return rename(json.loads(self._plain.to_str()), self._secrets)

    @property
    def has_chat(self) -> bool:
        return self._chat is not None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with a BOS token if the tokenizer adds one. Names of control tokens are treated as text. The result is empty
        if the tokenizer knows none of the text. Raises UserError for a token without a row in the model's embedding."""
        return list(self._encoded(text))

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation and of the opening of the reply, as the chat template writes them. The last message is the request.
        Names of control tokens in messages are treated as text. Raises UserError without a template, if it fails or leaves the request
        out, and as `encode` does."""
        return list(self._encoded(tuple((message["role"], message["content"]) for message in messages)))

    def _encode(self, what: str | tuple[tuple[str, str], ...]) -> tuple[int, ...]:
        if isinstance(what, str):
            ids = self._renamed.encode(_sound(what)).ids
        elif not self._chat:
            raise UserError(f"{self.owner} has no chat template: leave chat out, and let it continue a text")
        else:
            ids = self._chat.encode([{"role": role, "content": _sound(content)} for role, content in what])
        for id in ids:
            if id >= self.rows:
                name = self._plain.id_to_token(id)
                has = f"{self.owner} has an embedding of {self.rows:,} rows"
                raise UserError(f"the tokenizer's token {name!r} has the number {id}, and {has}: write the prompt without it")
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of consecutive tokens, without special ones."""
        return self._plain.decode([id for id in ids if id not in self.special_ids], skip_special_tokens=False)

    def piece(self, id: int) -> str:
        """The text of one token for display, as it reads after a word, including its leading space. Special tokens give their name; a part
        of a character gives U+FFFD."""
        if id not in self._pieces:
            self._pieces[id] = self._names.get(id) or self._piece(id)
        return self._pieces[id]

    def _piece(self, id: int) -> str:
        return self._plain.decode([*self._word, id], skip_special_tokens=False)[len(self._plain.decode(self._word)) :]

    def _find_word(self) -> list[int]:
        """A token that is a word or a letter, or []. `_piece` decodes it before a token, since some decoders drop a text's first space."""
        for id in range(self._plain.get_vocab_size()):
            token = self._plain.id_to_token(id) or ""
            if id not in self._names and not token.startswith("<0x") and self._plain.decode([id]).isalnum():
                return [id]
        return []


def end_ids_of(generation: GenerationConfig) -> frozenset[int]:
    """Tokens that end a text, as transformers' generate() reads them."""
    ends = generation.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _sound(text: str) -> str:
    """Replaces lone surrogates, which are not valid text, by "?"."""
    return text.encode("utf-8", "replace").decode()
