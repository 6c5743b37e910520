"""Endpoints for programs: gradio_client, curl, or MCP tools (`python app.py --mcp`). Callers read the names and docstrings.

Callers wait in the same line as visitors of the page. `race` and `generate` are generators. Gradio closes them when the caller leaves,
which frees the device. The values yielded on the way report progress; the last one is the result.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Literal, get_args

import gradio as gr

from eesd_core.control import parse_controller
from eesd_core.draft.registry import parse_drafter
from eesd_core.errors import UserError
from eesd_core.events import RaceFinished, Record, TokensCommitted
from eesd_core.metrics import Metrics
from eesd_core.request import Request
from eesd_core.rounds import fold
from eesd_core.trace import parse_trace, to_line

from .form import Field
from .form_values import checked, model_from_form, quantize_from_form, request_from_form, whole_number
from .runs import FRAME_SECONDS, Contest, Visits, looked_every, told_every

Acceptance = Literal["shared-noise", "rejection"]
Precision = Literal["host", "none", "q8", "q4", "8bit", "4bit"]
Method = Literal["eesd", "vanilla"]
METHOD = Field("method", "Method", "", "eesd", "choice", choices=get_args(Method))
WITH_TRACE = Field("with_trace", "With trace", "", False, "flag")
MOST_TRACE = 8 * 2**20  # bytes of a trace sent to `replay`
MOST_CONTROLLER = 200  # characters


def add_endpoints(visits: Visits, streams: int) -> None:
    """Call this inside gr.Blocks."""
    api = Api(visits)
    for function in (api.race, api.generate) if visits.studies else (api.race,):  # a lent GPU runs races only
        gr.api(function, api_name=function.__name__, concurrency_limit=streams, concurrency_id="api")
    gr.api(api.replay, api_name="replay", concurrency_limit=1)


class Api:
    def __init__(self, visits: Visits):
        self.visits = visits

    # Gradio takes the type of each yielded value from the return annotation, so it is `dict`, not AsyncIterator[dict].

    async def race(
        self,
        request: gr.Request,
        prompt: str,
        max_new_tokens: int = 128,
        temperature: float = 0.8,
        seed: int = 7,
        controller: str = "throughput",
        acceptance: Acceptance = "shared-noise",
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.1,
        chat: bool = False,
        quantize: Precision = "host",
        model: str = "",
        drafter: str = "early-exit",
        wrong: float = 0.0,
        wrong_from: int | None = None,
        stop: str = "",
        system: str = "",
        history: str = "",
        with_trace: bool = False,
    ) -> dict:
        """Write a continuation twice on one device, plainly and by early-exiting speculative decoding, and compare texts and clocks.

        Args:
            prompt: the opening to continue; with chat, the request to reply to
            max_new_tokens: 1 to 512
            temperature: 0 is greedy; at most 2
            seed: the same seed gives the same text
            controller: when to stop drafting: beta (the paper's), throughput, fixed:4, threshold:0.4, beta:forget=0.95 ...
            acceptance: shared-noise writes vanilla's text token for token, rejection keeps its distribution
            top_k: draw from the top_k most likely tokens; 0 is all
            top_p: draw from the smallest set of most likely tokens whose total probability reaches top_p
            min_p: draw from tokens whose probability is at least min_p times that of the most likely one
            chat: treat the prompt as a request to reply to
            quantize: precision of the weights: host is the server's own choice, none is unquantised
            model: one of the server's models by name (smollm2-early, smollm2, storyteller); empty is its own choice
            drafter: who proposes tokens: early-exit, prompt-lookup:2, layer-skip, recycling, or a trained head such as block ...
            wrong: make this share of the drafts random on purpose, 0 to 1: the belief follows, the text does not change
            wrong_from: new token at which wrong drafts begin; default: the middle
            stop: the text ends just before this string; empty is none
            system: system prompt of a chat; empty is the template's own
            history: earlier turns of a chat, as JSON: [["request", "reply"], ...]
            with_trace: add every event of the run, as NDJSON

        Returns:
            identical, level, first_difference, speedup (against this engine without drafts), cache_difference (the largest difference
            between the two lanes' keys and values), and both lanes with text and metrics
        """
        form = {"prompt": prompt, "new_tokens": max_new_tokens, "temperature": temperature, "seed": seed, "acceptance": acceptance}
        form |= {"top_k": top_k, "top_p": top_p, "min_p": min_p, "chat": chat, "wrong": wrong, "wrong_from": wrong_from, "stop": stop}
        form |= {"system": system, "history": history}
        wanted = asked(form, controller, drafter, (WITH_TRACE, with_trace))
        async for state in self._run(request, wanted, quantize, model):
            if records := state.pop("records", None):
                state = race_result(records) | ({"trace": "".join(map(to_line, records))} if with_trace else {})
            yield state

    async def generate(
        self,
        request: gr.Request,
        prompt: str,
        max_new_tokens: int = 128,
        temperature: float = 0.8,
        seed: int = 7,
        controller: str = "throughput",
        method: Method = "eesd",
        chat: bool = False,
        quantize: Precision = "host",
        model: str = "",
        drafter: str = "early-exit",
        wrong: float = 0.0,
        wrong_from: int | None = None,
        stop: str = "",
        system: str = "",
        history: str = "",
    ) -> dict:
        """Write a continuation by early-exiting speculative decoding, or plainly. The text is the same.

        Args:
            prompt: the opening to continue; with chat, the request to reply to
            max_new_tokens: 1 to 512
            temperature: 0 is greedy; at most 2
            seed: the same seed gives the same text
            controller: when to stop drafting: beta (the paper's), throughput, fixed:4, threshold:0.4 ...
            method: eesd, or vanilla for one token at a time
            chat: treat the prompt as a request to reply to
            quantize: precision of the weights: host is the server's own choice, none is unquantised
            model: one of the server's models by name (smollm2-early, smollm2, storyteller); empty is its own choice
            drafter: who proposes tokens: early-exit, prompt-lookup:2, layer-skip, recycling, or a trained head such as block ...
            wrong: make this share of the drafts random on purpose, 0 to 1: the text does not change
            wrong_from: new token at which wrong drafts begin; default: the middle
            stop: the text ends just before this string; empty is none
            system: system prompt of a chat; empty is the template's own
            history: earlier turns of a chat, as JSON: [["request", "reply"], ...]

        Returns:
            text, token_ids, rounds, acceptance rate, draft lengths, seconds and tokens per second
        """
        form = {"prompt": prompt, "new_tokens": max_new_tokens, "temperature": temperature, "seed": seed, "chat": chat}
        form |= {"wrong": wrong, "wrong_from": wrong_from, "stop": stop, "system": system, "history": history}
        wanted = asked(form, controller, drafter, (METHOD, method))

        def work(engine, request, run, stopped):
            from eesd_core.backends import backend  # imports torch

            return engine.run(request, method, run, stopped, backend=backend(engine, request))

        async for state in self._run(request, wanted, quantize, model, work, method):
            if records := state.pop("records", None):
                state = {"status": "finished", "method": method, "backend": fold(records, method).backend}
                state |= Metrics.fold(records, method).to_json()
            yield state

    async def replay(self, request: gr.Request, trace: str) -> dict:
        """Check a trace (NDJSON, eesd-trace/2 or /1) and return its texts, metrics and verdict. Nothing is run.

        Args:
            trace: the text of a trace, as the page saves it or `python -m eesd_core race --trace FILE` writes it

        Returns:
            both lanes with text and metrics and, if the race was finished, identical, level, first_difference and speedup
        """
        try:
            if not isinstance(trace, str) or len(trace) > MOST_TRACE:
                raise UserError(f"send the text of a trace of at most {MOST_TRACE >> 20} MB")
            packed = trace.encode("utf-8", "replace")
            # This waits in line with the runs: reading a large trace would take seconds of processor time from a run beside it.
            job = self.visits.enter(address_of(request), self.visits.engines.wanted(), lambda engine, stopped: read(packed))()
        except UserError as problem:
            raise refusal(problem) from None
        try:
            while not job.done:
                await asyncio.sleep(FRAME_SECONDS)
        finally:
            self.visits.device.leave(job)
        if job.error:
            raise refusal(UserError(job.error))
        return job.take()[0][-1]

    async def _run(
        self, caller: gr.Request, wanted: Request, quantize: str, model: str, work: Contest | None = None, lane: str | None = None
    ) -> AsyncIterator[dict]:
        yield {"status": "waiting", "place": 0, "seconds": None}  # Gradio can close this generator only after its first yield
        if lane == "vanilla":
            wanted = replace(wanted, method="vanilla")
        try:
            weights = None if quantize == "host" else quantize_from_form(quantize=quantize)
            engine = self.visits.engines.wanted(weights, model_from_form(model=model))
            job = self.visits.admit(address_of(caller), wanted, uuid.uuid4().hex[:8], engine, work)()
        except UserError as problem:
            raise refusal(problem) from None
        device, records, tokens, done, told_at = self.visits.device, [], 0, False, 0.0
        try:
            while not done:
                fresh, done = job.take()
                records += fresh
                tokens += sum(len(record.event.ids) for record in fresh if isinstance(record.event, TokensCommitted))
                if records:
                    yield {"status": "running", "new_tokens": tokens}
                elif time.monotonic() >= told_at + told_every(place := device.place(job)):
                    told_at, loading = time.monotonic(), device.preparing
                    wait = {"status": "waiting", "place": place, "seconds": device.wait(place)}
                    yield {"status": "loading", "seconds": round(loading)} if loading is not None and not place else wait
                if not done:
                    await asyncio.sleep(looked_every(device.place(job)))
        finally:
            device.leave(job)
        if job.error or job.why_stopped != "by you":
            raise refusal(UserError(job.error or f"stopped {job.why_stopped}"))
        yield {"records": records}


def asked(form: dict, controller: str, drafter: str, more: tuple[Field, object]) -> Request:
    """The request, checked. `more` holds arguments that have no field in the form. Raises gr.Error."""
    try:
        checked(*more)
        return request_of(form, controller, drafter)
    except UserError as problem:
        raise refusal(problem) from None


def request_of(form: dict, controller: str, drafter: str) -> Request:
    """A request from form values by name; controller and drafter are spelled as on the command line. Raises UserError."""
    if not isinstance(controller, str) or len(controller) > MOST_CONTROLLER:
        raise UserError("the controller must be a short text such as throughput or fixed:4")
    seed = whole_number("seed", form["seed"], 0, 2**53)
    name, settings = parse_controller(controller, seed)
    if settings.pop("seed", seed) != seed:
        raise UserError("the controller has the seed of the run: leave it out of the controller")
    if not isinstance(drafter, str) or len(drafter) > MOST_CONTROLLER:
        raise UserError("the drafter must be a short text such as prompt-lookup:2")
    if not form["chat"] and (form["system"] or form["history"]):
        raise UserError("system and history are for chat: set chat too, or leave them out")
    request = request_from_form(**form, controller=name, **settings)
    if (drafting := parse_drafter(drafter)).name == "early-exit":
        return request
    if request.drafter.name == "disturbed":
        raise UserError("wrong drafts are made of early-exit's: leave out wrong, or the drafter")
    return replace(request, drafter=drafting)


def read(trace: bytes) -> Iterator[dict]:
    yield race_result(parse_trace(trace).records)


def race_result(records: list[Record]) -> dict:
    """The same fields as `race --json`."""
    lanes = {lane: Metrics.fold(records, lane) for lane in ("vanilla", "eesd")}
    result = {"status": "finished"} | {lane: metrics.to_json() for lane, metrics in lanes.items() if metrics.rounds}
    for record in records:
        if isinstance(e := record.event, RaceFinished):
            result |= {"identical": e.identical, "level": e.level, "first_difference": e.first_difference, "speedup": e.speedup}
            result["cache_difference"] = e.cache_difference
    return result | {"backend": fold(records, "eesd").backend}


def refusal(problem: UserError) -> gr.Error:
    return gr.Error(str(problem), print_exception=False)


def address_of(caller: gr.Request) -> str:
    return caller.client.host if caller and caller.client else "unknown"
