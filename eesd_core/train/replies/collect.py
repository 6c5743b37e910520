"""`write-replies`: a chat model replies to many requests, or a model continues many openings. All heads learn from what it wrote."""

import time
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path

from safetensors import SafetensorError

from ...errors import UserError
from ...model.load import load_target
from ...model.target import Target
from .given import with_states
from .openings import Openings
from .passages import Passages
from .requests import Requests
from .store import PART, load_ids, load_replies, parts, save_part, save_replies
from .turns import turn_behind
from .writer import Text, Writer, run

DRAWS = ((0.0, 0.0), (0.8, 0.1), (0.0, 0.0), (0.8, 0.1), (0.8, 0.0), (1.0, 0.0))  # (temperature, min-p) for consecutive requests, in turn
MOST_TURNS = 2
LONGEST_PROMPT = 330  # tokens


def write_replies(
    model: str | None, data: Path, out: Path, count: int, new_tokens: int, taps: tuple[int, ...], known: Path | None = None,
    openings: bool = False, passages: bool = False,
) -> None:  # fmt: skip
    """Write replies to requests 0 .. count - 1 into parts in `out`; those already there stay. `taps`: depths whose hidden states are kept
    too, in bfloat16. `known`: a file of earlier replies (store.py), which are not written again. `openings`: the model continues texts that
    break off instead of replying to requests. `passages`: all requests quote a passage. Raises UserError."""
    if openings and (known or passages):
        raise UserError("--known and --passages are for replies: leave them out where the model goes on with openings")
    requests = Openings(data) if openings else (Passages if passages else Requests)(data)
    target = load_target(model, "cpu", "float32", "none", alone=True)
    if not openings and not target.tokenizer.chat_template:
        raise UserError(f"{target.name} has no chat template to be asked by: give --openings, and it goes on with texts that break off")
    out.mkdir(parents=True, exist_ok=True)
    done = numbers(out)
    if known:
        restored = [text for text in restore(target, requests, known) if text.number not in done]
        target.see_whole_rows()
        for low in range(0, len(restored), PART):
            index = max(parts(out), default=-1) + 1
            save_part(out, index, with_states(target, restored[low : low + PART], taps), taps, states=bool(taps))
            print(f"part {index + 1}: {min(low + PART, len(restored)):,} of {len(restored):,} known texts", flush=True)
        done = numbers(out)

    def texts() -> Iterator[Text]:
        for number in range(count):
            if number in done:
                continue
            asked = requests.draw(number)
            ids = target.codec.encode(asked) if openings else target.codec.encode_chat([{"role": "user", "content": asked}])
            if len(ids) <= LONGEST_PROMPT:
                yield Text(number, list(ids), *DRAWS[number % len(DRAWS)], first=len(ids))

    def next_turn(text: Text) -> list[int] | None:
        request = requests.follow_up(text.number) if not openings and len(text.turns) < MOST_TURNS else None
        return request and turn_behind(target, request)

    writer, finished = Writer(target.model, taps, target.end_ids), []
    began, new, index = time.monotonic(), 0, max(parts(out), default=-1) + 1
    for text, states in run(writer, texts(), new_tokens, next_turn):
        finished.append((text, states))
        new += sum(end - begin for begin, end in text.turns)
        if len(finished) == PART:
            save_part(out, index, finished, taps, states=bool(taps))
            index, finished = index + 1, []
            print(f"part {index}: {new:,} tokens written, {new / (time.monotonic() - began):.0f} a second", flush=True)
    if finished:
        save_part(out, index, finished, taps, states=bool(taps))
    save_replies(out)


def numbers(folder: Path) -> set[int]:
    """Numbers of the requests that already have their replies."""
    return {number for part in parts(folder) for number in load_ids(folder, part)["number"].tolist()}


def restore(target: Target, requests: Requests, known: Path) -> Iterator[Text]:
    """Whole texts, put together again from their replies alone. Raises UserError for a file that does not fit."""
    try:
        found = list(load_replies(known))
    except (OSError, LZMAError, SafetensorError, KeyError) as problem:
        raise UserError(f"{known} holds no replies ({problem}): give the replies.xz that write-replies made") from None
    for number, temperature, min_p, turns in found:
        ids, text = list(target.codec.encode_chat([{"role": "user", "content": requests.draw(number)}])), None
        for turn in turns:
            if text:
                ids += turn_behind(target, requests.follow_up(number))
            text = text or Text(number, ids, temperature, min_p)
            text.turns.append((len(ids), len(ids) + len(turn)))
            ids += turn
        yield text
