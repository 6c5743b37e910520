"""An OpenAI-compatible API (`python app.py --openai`): /v1/models, /v1/completions, /v1/chat/completions.

Callers wait in the same line as visitors of the page. A reply also reports drafting under vLLM's names and in vLLM's place
(`metrics.speculative_decoding`), so "Open a trace" opens it. Beyond OpenAI's own fields a request may have `method`, `controller`,
`drafter`, `acceptance`, `top_k` and `min_p`. Unsupported fields that would change the text are refused by name.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from eesd_core.errors import UserError
from eesd_core.events import Record, RunFinished, TokensCommitted
from eesd_core.metrics import Metrics
from eesd_core.request import Request

from .api import METHOD, address_of, request_of
from .device import Job
from .form import MOST_NEW_TOKENS
from .form_values import checked, model_from_form, stops_of
from .json_body import json_object
from .runs import Visits, looked_every

MOST_BODY = 256 * 2**10  # bytes
# Unsupported fields that would change the reply, each with the values that leave it unchanged.
NOT_HERE = {
    "n": (1,), "best_of": (1,), "echo": (False,), "suffix": ("",), "logprobs": (False, 0), "top_logprobs": (0,), "logit_bias": ({},),
    "frequency_penalty": (0,), "presence_penalty": (0,), "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},), "audio": (), "modalities": (["text"],),
}  # fmt: skip
SEPARATE = "messages must be an optional system message, then user and assistant in turn, with a user message at the end"


class Refused(UserError):
    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def completion_routes(visits: Visits) -> list[Route]:
    def answering(chat: bool):
        async def answer(call: Call) -> Response:
            try:
                body = await json_object(call, MOST_BODY)
                reply = Reply(chat, body, visits.engines.model)
                job = enter(visits, call, reply)
            except UserError as problem:
                return error(problem)
            if reply.streamed:
                return StreamingResponse(reply.stream(follow(visits, job)), media_type="text/event-stream")
            return await whole(visits, call, job, reply)

        return answer

    def models(_: Call) -> Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "eesd"} for name in visits.engines.models]
        return JSONResponse({"object": "list", "data": listed})

    posts = {"completions": answering(False), "chat/completions": answering(True)}
    return [*(Route(f"/v1/{name}", answer, methods=["POST"]) for name, answer in posts.items()), Route("/v1/models", models)]


class Reply:
    """A request, and the replies built from its run's records. Raises UserError."""

    def __init__(self, chat: bool, body: dict, usual_model: str):
        for name, idle in NOT_HERE.items():
            if body.get(name) is not None and body[name] not in idle:
                raise UserError(f"{name} is not done here: leave it out")
        self.chat = chat
        self.model = model_from_form(model=body.get("model")) or usual_model
        self.method = checked(METHOD, body.get("method", METHOD.value))
        self.request = replace(request_in(body, chat), method=self.method)
        self.streamed = body.get("stream") is True
        options = body.get("stream_options")
        self.counted = self.streamed and isinstance(options, dict) and options.get("include_usage") is True
        kind = "chat.completion" if chat else "text_completion"
        self.head = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}", "created": int(time.time()), "model": self.model}
        self.head |= {"object": f"{kind}.chunk" if chat and self.streamed else kind}

    def all(self, records: list[Record]) -> dict:
        """The reply in one piece."""
        text = "".join(text_of(records))
        said = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        return self.head | {"choices": [self.choice(said, finish_of(records))]} | self.figures(records)

    async def stream(self, parts: AsyncIterator[list[Record]]) -> AsyncIterator[str]:
        """The reply as server-sent events."""
        records: list[Record] = []
        try:
            if self.chat:
                yield event(self.head | {"choices": [self.choice({"delta": {"role": "assistant", "content": ""}}, None)]})
            async for part in parts:
                records += part
                if text := "".join(text_of(part)):
                    yield event(self.head | {"choices": [self.choice({"delta": {"content": text}} if self.chat else {"text": text}, None)]})
            said = {"delta": {}} if self.chat else {"text": ""}
            yield event(self.head | {"choices": [self.choice(said, finish_of(records))]})
            if self.counted:
                yield event(self.head | {"choices": []} | self.figures(records))
        except UserError as problem:
            yield event(told(problem))
        finally:
            await parts.aclose()  # frees the device, also when the caller has left
        yield "data: [DONE]\n\n"

    def choice(self, said: dict, finish: str | None) -> dict:
        return {"index": 0} | said | {"logprobs": None, "finish_reason": finish}

    def figures(self, records: list[Record]) -> dict:
        metrics = Metrics.fold(records, self.method)
        prompt, written = len(records[0].event.prompt_ids), metrics.new_tokens
        usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
        drafting = [step for step in zip(metrics.draft_lengths, metrics.accepted_lengths) if step[0]]
        if not drafting:
            return {"usage": usage}
        steps = dict(zip(("per_step_drafted", "per_step_accepted"), map(list, zip(*drafting))))
        timed = {"generation_time_ms": round(1e3 * metrics.seconds, 3)}
        return {"usage": usage, "metrics": timed | {"speculative_decoding": metrics.as_vllm() | steps}}


def request_in(body: dict, chat: bool) -> Request:
    """The request in a body. Raises UserError."""
    most = body.get("max_completion_tokens") if chat and body.get("max_completion_tokens") is not None else body.get("max_tokens")
    usual_most = MOST_NEW_TOKENS if chat else 16  # 16 is OpenAI's default for completions
    form = {"new_tokens": usual_most if most is None else most, "chat": chat, "system": "", "history": ""}
    usual = {"temperature": 1.0, "top_p": 1.0, "seed": 0, "top_k": 0, "min_p": 0.0, "acceptance": "shared-noise"}
    form |= {name: value if body.get(name) is None else body[name] for name, value in usual.items()}
    form |= talk(body.get("messages")) if chat else {"prompt": body.get("prompt")}
    asked = request_of(form, body.get("controller") or "throughput", body.get("drafter") or "early-exit")
    stops = body.get("stop")
    stops = stops if isinstance(stops, list) else [stops]
    return replace(asked, stop=tuple(text for stop in stops for text in stops_of(stop)))


def talk(messages: object) -> dict:
    """A conversation as fields of the form: prompt, system, history. Raises UserError."""
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise UserError(SEPARATE)
    turns = [(message.get("role"), content_of(message.get("content"))) for message in messages]
    system = turns.pop(0)[1] if turns[0][0] in ("system", "developer") else ""
    roles = [role for role, _ in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise UserError(SEPARATE)
    texts = [text for _, text in turns]
    history = json.dumps([texts[i : i + 2] for i in range(0, len(texts) - 1, 2)]) if len(texts) > 1 else ""
    return {"prompt": texts[-1], "system": system, "history": history}


def content_of(content: object) -> str:
    """The text of a message, given as a string or as a list of text parts. Raises UserError."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if not all(isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in parts):
        raise UserError("the content of a message must be text")
    return "".join(part["text"] for part in parts)


def enter(visits: Visits, call: Call, reply: Reply) -> Job:
    """Put the request into the line. Raises UserError."""
    try:
        wanted = visits.engines.wanted(None, reply.model)
    except UserError as problem:
        raise Refused(str(problem), 404) from None

    def work(engine, request, run, stopped):
        from eesd_core.backends import backend  # imports torch

        return engine.run(request, reply.method, run, stopped, backend=backend(engine, request))

    return visits.admit(address_of(call), reply.request, reply.head["id"], wanted, work)()


async def follow(visits: Visits, job: Job) -> AsyncIterator[list[Record]]:
    """The records as they come. Raises UserError at the end if the run failed."""
    done = False
    try:
        while not done:
            part, done = job.take()
            if part:
                yield part
            if not done:
                await asyncio.sleep(looked_every(visits.device.place(job)))
    finally:
        visits.device.leave(job)
    if job.error:
        raise UserError(job.error)
    if job.why_stopped != "by you":  # "by you" is set by device.leave above, for every job
        raise Refused(f"stopped {job.why_stopped}", 503)


async def whole(visits: Visits, call: Call, job: Job, reply: Reply) -> Response:
    """The reply in one piece, once the run is over. If the caller leaves before that, the device is freed."""
    records: list[Record] = []
    parts = follow(visits, job)
    try:
        gone = asyncio.ensure_future(left(call))
        reading = asyncio.ensure_future(gathered(parts, records))
        await asyncio.wait({gone, reading}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not reading.done():
            reading.cancel()
            return Response(status_code=499)
        reading.result()
        return JSONResponse(reply.all(records))
    except UserError as problem:
        return error(problem)
    finally:
        visits.device.leave(job)


async def gathered(parts: AsyncIterator[list[Record]], records: list[Record]) -> None:
    async for part in parts:
        records += part


async def left(call: Call) -> None:
    """Wait until the caller has hung up."""
    while not await call.is_disconnected():
        await asyncio.sleep(0.1)


def text_of(records: list[Record]) -> list[str]:
    return [record.event.text for record in records if isinstance(record.event, TokensCommitted)]


def finish_of(records: list[Record]) -> str:
    """OpenAI's `finish_reason`."""
    ended = next((record.event for record in reversed(records) if isinstance(record.event, RunFinished)), None)
    return "length" if ended and ended.reason == "length" else "stop"


def event(value: dict) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def told(problem: UserError) -> dict:
    return {"error": {"message": str(problem), "type": "invalid_request_error", "param": None, "code": None}}


def error(problem: UserError) -> Response:
    return JSONResponse(told(problem), getattr(problem, "status", 400))
