"""A conversation as token ids: the model's chat template is filled in and the result is tokenised as one text.

The ids are those of transformers' `apply_chat_template(tokenize=True)`, with one exception: names of control tokens in a message stay text.
To tell them from the names that the template writes, names in messages are disguised while the template is filled in. The method is ours.
"""

import re
import secrets
from collections.abc import Callable, Sequence

from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from ..errors import UserError

Message = dict[str, str]  # role (system, user or assistant) and content
Part = tuple[int, int]  # of a text: begin, end


class Chat:
    """One tokenizer's chat template. Thread-safe: it is never changed after construction."""

    def __init__(
        self, tokenizer, plain: Tokenizer, renamed: Callable[[], Tokenizer], names: dict[int, str], spelled: dict[int, str], owner: str
    ):  # fmt: skip
        """`tokenizer`: transformers', of which only the template and what it may name are kept. `plain` finds control tokens by their
        `names`; `renamed` gives the same tokenizer with the secret names `spelled`. `owner`: the model's name for error messages."""
        templates = tokenizer.chat_template
        self.template = templates.get("default") if isinstance(templates, dict) else templates
        self.special = tokenizer.special_tokens_map
        self.plain, self.renamed, self.owner = plain, renamed, owner
        self.names, self.spelled, self.unknown = names, spelled, tokenizer.unk_token_id
        self.secret = secrets.token_hex(8)  # a word that nobody can guess

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the conversation and the opening of the reply. Raises UserError if the template refuses the conversation, fails, or
        leaves the request out."""
        text, request = self._fill(messages), messages[-1]["content"]
        if request.strip() not in text and self._fill([*messages[:-1], messages[-1] | {"content": self.secret}]) == text:
            raise UserError(f"the chat template of {self.owner} leaves the request out: leave chat out, and let it continue a text")
        risky = [self._risky(message["content"]) for message in messages]
        if not any(risky):
            return self.plain.encode(text, add_special_tokens=False).ids
        return self.renamed().encode(self._disguise(messages, risky, text), add_special_tokens=False).ids

    def _fill(self, messages: Sequence[Message]) -> str:
        if not self.template:
            raise UserError(f"{self.owner} has several chat templates and no default: leave chat out, and let it continue a text")
        try:
            filled, _ = render_jinja_template([list(messages)], chat_template=self.template, add_generation_prompt=True, **self.special)
            return filled[0]
        except Exception as problem:  # a template is a program and can raise anything
            reason = " ".join(str(problem).split())[:200]
            raise UserError(f"the chat template of {self.owner} does not take this conversation: {reason}") from None

    def _disguise(self, messages: Sequence[Message], risky: list[list[Part]], text: str) -> str:
        """`text`, the filled-in template, with the template's own control tokens in the spelling of `renamed`. `risky`: see `_risky`."""
        found = sorted({m["content"][begin:end] for m, parts in zip(messages, risky) for begin, end in parts})
        veils = {part: f"{self.secret}x{number:06d}" for number, part in enumerate(found)}
        bare, mark = {veil: part for part, veil in veils.items()}, self.secret + "mark"
        filled = self._fill([_disguised(m, parts, veils) for m, parts in zip(messages, risky)])
        if _replace(filled, bare) != text:
            # The template searches messages for a name, such as </think>. It still finds the name if a mark is put in front of it.
            marked = self._fill([_disguised(m, parts, {part: mark + part for part in found}) for m, parts in zip(messages, risky)])
            marked = _replace(marked, {mark + part: veil for part, veil in veils.items()} | {mark: ""})
            ids, wanted = ([id for id, _ in self._control_tokens(way)] for way in (marked, filled))
            if _replace(marked, bare) == text and ids == wanted:
                filled = marked
        pieces, at = [], 0
        for id, (begin, end) in self._control_tokens(filled):
            pieces += [filled[at:begin], self.spelled[id]]
            at = end
        return _replace("".join([*pieces, filled[at:]]), bare)

    def _risky(self, content: str) -> list[Part]:
        """Parts of a message that are names of control tokens, or could form one together with the template's text: the end of a name at
        the message's beginning, the beginning of a name at its end, or the whole message if it is part of a name."""
        parts = [part for _, part in self._control_tokens(content)]
        edges: list[Part] = []
        inner = content.strip()
        first = len(content) - len(content.lstrip())
        last = first + len(inner)
        for name in self.names.values() if inner else ():
            edges += [(first, last)] if inner in name else []
            edges += [(first, first + n) for n in range(1, len(name)) if inner.startswith(name[-n:])]
            edges += [(last - n, last) for n in range(1, len(name)) if inner.endswith(name[:n])]
        for begin, end in sorted(edges, key=lambda part: part[0] - part[1]):  # longest first; skip those that overlap a disguised part
            if all(end <= other or begin >= after for other, after in parts):
                parts.append((begin, end))
        return sorted(parts)

    def _control_tokens(self, text: str) -> list[tuple[int, Part]]:
        """Control tokens that the tokenizer finds, and their places without the white space that some of them absorb."""
        encoding, found = self.plain.encode(text, add_special_tokens=False), []
        for id, (begin, end) in zip(encoding.ids, encoding.offsets):
            inner = text[begin:end].strip() or text[begin:end]
            if id in self.names and (id != self.unknown or inner == self.names[id]):  # unknown letters also give `unknown`, but are no name
                begin = text.index(inner, begin)
                found.append((id, (begin, begin + len(inner))))
        return found


def _disguised(message: Message, parts: list[Part], shown: dict[str, str]) -> Message:
    pieces, at, content = [], 0, message["content"]
    for begin, end in parts:
        pieces += [content[at:begin], shown[content[begin:end]]]
        at = end
    return message | {"content": "".join([*pieces, content[at:]])}


def _replace(text: str, by: dict[str, str]) -> str:
    """Replaces all keys of `by` in one pass, longest first, so that inserted text is not replaced again."""
    pattern = "|".join(re.escape(old) for old in sorted(by, key=len, reverse=True))
    return re.sub(pattern, lambda found: by[found[0]], text)
