"""What a visitor may start besides a run: a race of several methods or precisions, several texts at once, a small benchmark, and the live
test of distributions. Also the latest report of a full benchmark.

Each study is one POST, answered line by line; closing the connection stops it. Studies are safe on public servers: they wait in the same
line as runs, count against the same limits, have a fixed size, and a benchmark's files go into a folder that is removed when it ends. Stop
waits until the current text is finished, at most a second or two in a small benchmark.

A report has its own scripts. It is shown in a sandbox without an origin, so nothing in it can reach the page or its cookies.

The page is served before the model is loaded, so what imports torch is imported where it is used.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from eesd_core.bench.latest import latest_report
from eesd_core.bench.methods import parse_method
from eesd_core.bench.page import to_html
from eesd_core.bench.prompts import load_prompts
from eesd_core.control import CONTROLLERS
from eesd_core.draft.registry import DRAFTERS
from eesd_core.draws import Sampling
from eesd_core.errors import UserError
from eesd_core.events import Record
from eesd_core.request import Request as Wanted

from .api import address_of
from .engines import Wanted as Weights
from .form import FIELDS, QUANTIZE
from .form_values import checked, model_from_form, quantize_from_form, request_from_form
from .json_body import json_object
from .runs import Study, Visits, note

if TYPE_CHECKING:
    from eesd_core.engine import Engine

ASSETS = Path(__file__).resolve().parents[1] / "assets"
RECORDED_METHODS = ASSETS / "bench" / "methods.ndjson.gz"  # a race of methods, made by `python -m tools.record_methods`
METHODS = ("vanilla", "hf", "prompt-lookup", "fixed:3", "beta", "throughput")
PROMPTS, NEW_TOKENS = 4, 32
MOST_CONTESTANTS = 4  # besides vanilla
MOST_PRECISIONS = 3  # at once in memory
CONTESTANTS = (  # in `bench` spelling: controllers for early exit, and other drafters
    *(name for name in CONTROLLERS if name != "fixed"),
    *("fixed:2", "fixed:4", "fixed:8"),
    *(name for name, row in DRAFTERS.items() if not row.for_show and name != "early-exit"),
)
TEXTS = (1, 2, 4, 8)  # at once
SMALL = 48  # tokens of each, at most
DRAWS = 500  # by each of the two methods
MOST_BODY = 64 * 2**10  # bytes
LINES = "application/x-ndjson"
SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}


def small_benchmark(engine: "Engine", stopped: Callable[[], bool]) -> Iterator[dict]:
    """Yields progress, and at the end the report as a page."""
    from eesd_core.bench.benchmark import Benchmark
    from eesd_core.bench.page import to_html
    from eesd_core.bench.suites import Group

    group = Group("live", "A small benchmark", METHODS, tuple(load_prompts(None, PROMPTS)), Sampling(), NEW_TOKENS, 1)
    with TemporaryDirectory() as folder:
        work = Benchmark(engine, "live", (group,), Path(folder))
        for progress in work.run(stopped):
            seen = {"done": progress.done, "total": progress.total, "seconds": progress.seconds_left}
            yield {"type": "bench", "doing": progress.doing} | seen
        if work.report:
            yield {"type": "report", "html": to_html(work.report)}


def race_of_methods(*asked) -> Iterator[Record | dict]:
    from eesd_core.racing import race_methods

    return race_methods(*asked)


def race_of_forms(*asked) -> Iterator[Record | dict]:
    from eesd_core.forms import race_forms

    return race_forms(*asked)


def study_routes(visits: Visits, root: str) -> list[Route]:
    def answer(address: str, study: Study, quantize: str | None, model: str | None) -> Response:
        lines = visits.study(address, study, quantize, model)
        return StreamingResponse(lines, media_type=LINES, headers={"Cache-Control": "no-store"})

    async def benchmark(request: Request) -> Response:
        try:
            form, _ = await form_of(request)
            quantize, model = quantize_from_form(**form), model_from_form(**form)
        except UserError as problem:
            return refusal(problem)
        return answer(address_of(request), small_benchmark, quantize, model)

    async def law(request: Request) -> Response:
        try:
            form, _ = await form_of(request)
            wanted, quantize, model = request_from_form(**form), quantize_from_form(**form), model_from_form(**form)
            if engine := visits.engines.loaded(visits.engines.wanted(quantize, model)):
                engine.encode(wanted)
        except UserError as problem:
            return refusal(problem)

        def study(engine: "Engine", stopped: Callable[[], bool]) -> Iterator[dict]:
            from eesd_core.checks.same_law import same_law

            for comparison in same_law(engine, wanted, DRAWS, stopped):
                yield {"type": "law"} | comparison.to_json()

        return answer(address_of(request), study, quantize, model)

    async def races(request: Request, also: str, plan: Callable, race: Callable) -> Response:
        """Race the requests that `plan` makes of the form and of the extra value `also`. Streams the records, then the table."""
        try:
            form, more = await form_of(request, also)
            wanted, quantize, model = request_from_form(**form), quantize_from_form(**form), model_from_form(**form)
            requests = plan(wanted, more)
            if engine := visits.engines.loaded(visits.engines.wanted(quantize, model)):
                for one in requests.values() if isinstance(requests, dict) else requests:
                    engine.encode(one)
        except UserError as problem:
            return refusal(problem)

        def study(engine: "Engine", stopped: Callable[[], bool]) -> Iterator[dict]:
            for said in race(engine, requests, stopped):
                yield said.to_json() if isinstance(said, Record) else {"type": "table"} | said

        return answer(address_of(request), study, quantize, model)

    async def precisions(request: Request) -> Response:
        try:
            form, names = await form_of(request, "precisions")
            wanted, model = request_from_form(**form), model_from_form(**form)
            chosen = several(visits, names, model)
            if engine := visits.engines.loaded(visits.engines.wanted(None, model)):
                engine.encode(wanted)
        except UserError as problem:
            return refusal(problem)

        def study(_: "Engine", stopped: Callable[[], bool]) -> Iterator[dict]:
            from eesd_core.racing import race_precisions

            engines: dict[str, Engine] = {}
            for name, one in chosen.items():
                if not visits.engines.loaded(one):
                    yield {"type": "loading", "precision": name}
                engines[name] = visits.engines.engine(one)
            for said in race_precisions(engines, wanted, stopped):
                yield said.to_json() if isinstance(said, Record) else {"type": "table"} | said

        return answer(address_of(request), study, None, model)

    methods = partial(races, also="methods", plan=contestants, race=race_of_methods)
    together = partial(races, also="texts", plan=small_texts, race=race_of_forms)
    posts = {"benchmark": benchmark, "law": law, "methods": methods, "precisions": precisions, "together": together}
    posts = posts if visits.studies else {}
    gets = {"latest": latest, "latest.html": latest_page}
    routes = [Route(f"{root}/{name}", handler, methods=["POST"]) for name, handler in posts.items()]
    routes += [Route(f"{root}/{name}", handler) for name, handler in gets.items()]
    return [*routes, Route(f"{root}/methods.ndjson", recorded_methods)]


def contestants(wanted: Wanted, names: object) -> dict[str, Wanted]:
    """The requests of vanilla and of the named methods. Raises UserError."""
    if not isinstance(names, list) or not 1 <= len(names) <= MOST_CONTESTANTS or len(set(map(str, names))) < len(names):
        raise UserError(f"choose one to {MOST_CONTESTANTS} different methods")
    if unknown := [name for name in names if name not in CONTESTANTS]:
        raise UserError(f"no method here is called {str(unknown[0])[:40]!r}: choose from the list")
    kept = {"system": wanted.system, "history": wanted.history, "stop": wanted.stop}
    methods = {name: parse_method(name) for name in ("vanilla", *names)}
    asked = (wanted.prompt, wanted.max_new_tokens, wanted.sampling, wanted.chat)
    return {name: replace(method.request(*asked), **kept) for name, method in methods.items()}


def several(visits: Visits, names: object, model: str | None) -> dict[str, Weights]:
    """The engine to load for each named precision. Raises UserError."""
    if not isinstance(names, list) or not 2 <= len(names) <= MOST_PRECISIONS or len(set(map(str, names))) < len(names):
        raise UserError(f"choose two or {MOST_PRECISIONS} different precisions")
    return {checked(QUANTIZE, name): visits.engines.wanted(name, model) for name in names}


def examples_of(chat: bool) -> list[dict]:
    """The project's example prompts: requests to reply to, or openings to continue."""
    return json.loads((ASSETS / ("prompts_chat.json" if chat else "prompts.json")).read_text(encoding="utf-8"))


def small_texts(wanted: Wanted, count: object) -> list[Wanted]:
    """Requests for the first `count` examples, with the form's settings. Raises UserError."""
    if type(count) is not int or count not in TEXTS:
        raise UserError(f"the number of texts must be one of {', '.join(map(str, TEXTS))}")
    prompts = [example["prompt"] for example in examples_of(wanted.chat)[:count]]
    return [replace(wanted, prompt=prompt, history=(), max_new_tokens=min(SMALL, wanted.max_new_tokens)) for prompt in prompts]


async def form_of(request: Request, also: str = "") -> tuple[dict, object]:
    """The form's values by name, and the extra value named `also`. Raises UserError."""
    form = await json_object(request, MOST_BODY)
    more = form.pop(also, None)
    if not form.keys() <= {field.name for field in FIELDS}:
        raise UserError("send the form's values by name, and nothing else")
    return form, more


def refusal(problem: UserError) -> Response:
    """A refusal in the stream's format, so that clients parse one format only."""
    return PlainTextResponse(note(type="error", message=str(problem)), media_type=LINES)


def recorded_methods(request: Request) -> Response:
    return FileResponse(RECORDED_METHODS, media_type=LINES, headers={"Cache-Control": "no-cache", "Content-Encoding": "gzip"})


def latest(request: Request) -> Response:
    """A summary of the latest report, or null."""
    report = latest_report()
    if not report:
        return JSONResponse(None)
    data = report.data
    facts = {"finished": data["finished"], "suite": data["suite"], "recorded": report.recorded}
    return JSONResponse(facts | {"model": data["model"]["name"], "dtype": data["model"]["dtype"], "machine": data["machine"]["processor"]})


def latest_page(request: Request) -> Response:
    report = latest_report()
    return HTMLResponse(to_html(report.data), headers=SANDBOX) if report else PlainTextResponse("there is no report yet", 404)
