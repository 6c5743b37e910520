"""A conversation as token ids: what the model's chat template writes of it, tokenised as one text.

These are the ids of transformers' `apply_chat_template(tokenize=True)`, with one exception: names of control tokens in a message stay text.
To tell them from those that the template writes, the messages' names are disguised while the template is filled in. The method is ours.
"""

import re
import secrets
from collections.abc import Sequence

from tokenizers import Tokenizer

from ..errors import UserError

Message = dict[str, str]  # role (system, user or assistant) and content
Part = tuple[int, int]  # of a text: begin, end


class Chat:
    """One tokenizer's chat template. Safe in several threads: nothing changes once it is made."""

    def __init__(self, template, plain: Tokenizer, renamed: Tokenizer, names: dict[int, str], spelled: dict[int, str], owner: str):
        """`template` is transformers' tokenizer, which fills it in. `plain` finds control tokens by their `names`, `renamed` by what they
        are called in `spelled`. `owner` is the model's name, for messages."""
        self.template, self.plain, self.renamed, self.owner = template, plain, renamed, owner
        self.names, self.spelled, self.unknown = names, spelled, template.unk_token_id
        self.secret = secrets.token_hex(8)  # a word that nobody can guess

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Raises UserError where the template refuses the conversation, fails, or leaves the request out."""
        text, request = self._fill(messages), messages[-1]["content"]
        if request.strip() not in text and self._fill([*messages[:-1], messages[-1] | {"content": self.secret}]) == text:
            raise UserError(f"the chat template of {self.owner} leaves the request out: leave chat out, and let it continue a text")
        risky = [self._risky(message["content"]) for message in messages]
        if not any(risky):
            return self.plain.encode(text, add_special_tokens=False).ids
        return self.renamed.encode(self._disguise(messages, risky, text), add_special_tokens=False).ids

    def _fill(self, messages: Sequence[Message]) -> str:
        try:
            return self.template.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        except Exception as problem:  # a template is a program: it can raise anything
            reason = " ".join(str(problem).split())[:200]
            raise UserError(f"the chat template of {self.owner} does not take this conversation: {reason}") from None

    def _disguise(self, messages: Sequence[Message], risky: list[list[Part]], text: str) -> str:
        """`text`, which the template gives for the messages, with the template's own control tokens in the spelling of `renamed`."""
        found = sorted({m["content"][begin:end] for m, parts in zip(messages, risky) for begin, end in parts})
        veils = {part: f"{self.secret}x{number:06d}" for number, part in enumerate(found)}
        bare, mark = {veil: part for part, veil in veils.items()}, self.secret + "mark"
        filled = self._fill([_disguised(m, parts, veils) for m, parts in zip(messages, risky)])
        if _replace(filled, bare) != text:
            # The template looks for a name in a message, such as </think>. With a mark in front of the name, it still finds it.
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
        """Names of control tokens in a message, and what could become one beside the template's text: the end of a name at the message's
        beginning, the beginning of one at its end, or the inside of one as the whole message."""
        parts = [part for _, part in self._control_tokens(content)]
        edges: list[Part] = []
        inner = content.strip()
        first = len(content) - len(content.lstrip())
        last = first + len(inner)
        for name in self.names.values() if inner else ():
            edges += [(first, last)] if inner in name else []
            edges += [(first, first + n) for n in range(1, len(name)) if inner.startswith(name[-n:])]
            edges += [(last - n, last) for n in range(1, len(name)) if inner.endswith(name[:n])]
        for begin, end in sorted(edges, key=lambda part: part[0] - part[1]):  # the longest first; a disguised part of an edge disguises it
            if all(end <= other or begin >= after for other, after in parts):
                parts.append((begin, end))
        return sorted(parts)

    def _control_tokens(self, text: str) -> list[tuple[int, Part]]:
        """Control tokens that the tokenizer finds, and where, without the white space that some of them take in."""
        encoding, found = self.plain.encode(text, add_special_tokens=False), []
        for id, (begin, end) in zip(encoding.ids, encoding.offsets):
            inner = text[begin:end].strip() or text[begin:end]
            if id in self.names and (id != self.unknown or inner == self.names[id]):  # letters that it does not know are no name
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
    """All at once, longest first: what has been put in is not looked at again."""
    pattern = "|".join(re.escape(old) for old in sorted(by, key=len, reverse=True))
    return re.sub(pattern, lambda found: by[found[0]], text)
