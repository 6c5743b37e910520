"""Reads files of other programs: responses of vLLM with `metrics.speculative_decoding` (`--per-request-spec-decode-metrics`) and of
llama.cpp's server with `timings`. A file is one JSON object, a list of them or one per line (several texts), or a stream as it was sent
("data: ...").

Field names are those of vLLM 0.32 and of llama.cpp of October 2026. The files are untrusted, so every value is checked here.
"""

import json
from pathlib import Path

from ..errors import UserError
from ..schema import MOST_BYTES, MOST_TOLD, fits
from .told import Told

MOST = 1_000_000  # most tokens of a text, and most of any count
NEAR = 1e-3  # tolerance between a reported ratio and the one computed from the counts
UNKNOWN = "a response of vLLM with metrics.speculative_decoding, or of llama.cpp's server with timings, is needed"


def read_foreign(path: Path) -> list[Told]:
    """The runs in a file. Raises UserError if it is no such file, or if values are missing, out of range or contradictory."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror}") from None
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES >> 20} MB: give fewer responses")
    try:
        replies = replies_in(data.decode("utf-8"))
        return [told_by(reply) for reply in replies]
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{path} holds no run that can be shown ({' '.join(str(problem).split())[:160]}): {UNKNOWN}") from None


def replies_in(text: str) -> list[dict]:
    """The responses in a file's text. Raises ValueError if they are not JSON objects."""
    try:
        whole = parsed(text)
        replies = whole if isinstance(whole, list) else [whole]
    except ValueError:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        sent = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        replies = [joined([parsed(line) for line in sent if line != "[DONE]"])] if sent else list(map(parsed, lines))
    if not replies or not all(isinstance(reply, dict) for reply in replies):
        raise ValueError("it is no JSON object")
    return replies


def parsed(text: str):
    def refuse(constant: str):
        raise ValueError(f"{constant} is no number")

    return json.loads(text, parse_constant=refuse)


def joined(chunks: list) -> dict:
    """A stream's chunks as one response: texts and token ids are concatenated; of other fields the last chunk's value counts."""
    reply, text, ids = {}, "", []
    for chunk in chunks:
        if not isinstance(chunk, dict):
            raise ValueError("a part of the stream is no JSON object")
        choice = first_choice(chunk)
        text += text_of(chunk, choice)
        ids += numbers(first(choice.get("token_ids"), chunk.get("tokens")), "token_ids") or []
        reason = {name: choice[name] for name in ("finish_reason", "stop_reason") if choice.get(name) is not None}
        reply |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        reply["choices"] = [(reply.get("choices") or [{}])[0] | reason]
    reply["choices"][0] |= {"text": text} | ({"token_ids": ids} if ids else {})
    return reply


def told_by(reply: dict) -> Told:
    """The run in a response. Raises ValueError if it is neither program's, or if its values cannot be right."""
    metrics = reply.get("metrics")
    if isinstance(metrics, dict) and isinstance(metrics.get("speculative_decoding"), dict):
        return by_vllm(reply, metrics)
    if isinstance(reply.get("timings"), dict):
        return by_llama_cpp(reply, reply["timings"])
    raise ValueError("neither is there")


def by_vllm(reply: dict, metrics: dict) -> Told:
    said, choice = metrics["speculative_decoding"], first_choice(reply)
    usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
    most = whole(said, "num_spec_tokens", needed=False, most=MOST_TOLD)
    told = Told("vLLM", whole(usage, "completion_tokens"), prompt_tokens=whole(usage, "prompt_tokens", needed=False))
    named(told, reply, choice)
    told.prompt_ids = tuple(numbers(first(reply.get("prompt_token_ids"), choice.get("prompt_token_ids")), "prompt_token_ids") or ())
    milliseconds = positive(metrics, "generation_time_ms")
    told.seconds = None if milliseconds is None else milliseconds / 1e3
    reasons = {"length": "length", "stop": "eos" if choice.get("stop_reason") is None else "stop"}
    told.reason = reasons.get(word(choice.get("finish_reason")), "unknown")
    steps, accepted, drafted = (whole(said, name) for name in ("num_spec_steps", "num_accepted_draft_tokens", "num_draft_tokens"))
    histogram = numbers(said.get("acceptance_histogram"), "acceptance_histogram")
    require(accepted <= drafted, "more drafts were accepted than made")
    require(
        steps + accepted <= told.new_tokens + MOST_TOLD, "num_spec_steps and num_accepted_draft_tokens are too many for completion_tokens"
    )
    if histogram is not None:
        require(len(histogram) <= MOST_TOLD + 1, "acceptance_histogram is too long")
        require(sum(histogram) == steps, "acceptance_histogram does not add up to num_spec_steps")
        require(
            sum(j * n for j, n in enumerate(histogram)) == accepted, "acceptance_histogram does not add up to num_accepted_draft_tokens"
        )
    agree(said, "mean_acceptance_length", 1 + accepted / steps if steps else 1.0)
    agree(said, "draft_acceptance_rate", accepted / drafted if drafted else 0.0)
    each = [numbers(said.get(name), name) for name in ("per_step_drafted", "per_step_accepted")]
    if each != [None, None]:
        require(
            None not in each and len(each[0]) == len(each[1]) == steps, "per_step_drafted and per_step_accepted are not of num_spec_steps"
        )
        require([sum(part) for part in each] == [drafted, accepted], "per_step_drafted and per_step_accepted do not add up")
        require(all(a <= d <= MOST_TOLD for d, a in zip(*each)), "a step accepts more than it drafts, or drafts too many")
        told.rounds = list(zip(*each))
    told.totals = {
        "mean_acceptance_length": 1 + accepted / steps if steps else None,
        "draft_acceptance_rate": accepted / drafted if drafted else None,
        "acceptance_histogram": histogram,
        "num_spec_steps": steps, "num_accepted_draft_tokens": accepted, "num_draft_tokens": drafted, "num_spec_tokens": most,
    }  # fmt: skip
    return told


def by_llama_cpp(reply: dict, timings: dict) -> Told:
    choice = first_choice(reply)
    told = Told("llama.cpp", whole(timings, "predicted_n"), prompt_tokens=whole(timings, "prompt_n", needed=False))
    named(told, reply, choice)
    prefill, decoding = positive(timings, "prompt_ms"), positive(timings, "predicted_ms")
    told.prefill_seconds, told.seconds = (None if ms is None else ms / 1e3 for ms in (prefill, decoding))
    reasons = {"limit": "length", "length": "length", "eos": "eos", "word": "stop"}
    told.reason = reasons.get(word(first(reply.get("stop_type"), choice.get("finish_reason"))), "unknown")
    drafted, accepted = (whole(timings, name, needed=False) for name in ("draft_n", "draft_n_accepted"))
    if drafted is not None:
        require(accepted is not None and accepted <= drafted, "draft_n_accepted is missing, or more than draft_n")
        told.totals = {"num_draft_tokens": drafted, "num_accepted_draft_tokens": accepted}
        told.totals["draft_acceptance_rate"] = accepted / drafted if drafted else None
    return told


def named(told: Told, reply: dict, choice: dict) -> None:
    """Sets the fields that both programs name alike."""
    told.model, told.version = (text if isinstance(text := reply.get(name), str) else "" for name in ("model", "system_fingerprint"))
    told.text = text_of(reply, choice)
    ids = numbers(first(choice.get("token_ids"), reply.get("tokens")), "token_ids")
    told.ids = tuple(ids) if ids else None


def first_choice(reply: dict) -> dict:
    choices = reply.get("choices")
    require(not isinstance(choices, list) or len(choices) < 2, "it holds several texts of one request, whose figures are one")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def text_of(reply: dict, choice: dict) -> str:
    """The text of a completion, a chat or llama.cpp's own endpoint, from a whole response or a part of a stream."""
    inner = first(choice.get("message"), choice.get("delta"))
    parts = choice.get("text"), inner.get("content") if isinstance(inner, dict) else None, reply.get("content")
    return next((part for part in parts if isinstance(part, str)), "")


def first(one, other):
    return other if one is None else one


def word(value) -> str | None:
    return value if isinstance(value, str) else None


def whole(values: dict, name: str, needed: bool = True, most: int = MOST) -> int | None:
    value = values.get(name)
    if value is None and not needed:
        return None
    require(fits(value, "integer") and 0 <= value <= most, f"{name} is not a whole number from 0 to {most}")
    return int(value)


def positive(values: dict, name: str) -> float | None:
    value = values.get(name)
    require(value is None or (fits(value, "number") and value >= 0), f"{name} is not a number from 0 on")
    return value


def numbers(value, name: str) -> list[int] | None:
    require(
        value is None or (fits(value, "integers") and all(0 <= item <= MOST for item in value)), f"{name} are not whole numbers from 0 on"
    )
    return None if value is None else list(map(int, value))


def agree(said: dict, name: str, counted: float) -> None:
    value = positive(said, name)
    require(value is None or abs(value - counted) < NEAR, f"{name} is not what the counts say")


def require(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)
