"""Other routes than the page: /health for monitoring, plotly.js, the empty offline page, QR codes, studies and rooms."""

import gzip
import io
import os
import time
from collections.abc import Callable
from functools import cache
from mimetypes import guess_type
from pathlib import Path

import plotly
import segno
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eesd_core.export import export
from eesd_core.export.standalone import PLOTLY_JS, template
from eesd_core.memory import memory_mb
from eesd_core.trace import open_trace

from .api import MOST_TRACE
from .inside_gradio import GRADIO_ASSETS
from .openai import completion_routes
from .room_routes import room_routes
from .rooms import Rooms
from .runs import Visits
from .studies import study_routes

TRACES = Path(__file__).resolve().parents[1] / "assets" / "traces"
OWN = "/gradio_api/eesd"  # with server-side rendering Node passes on only what is below /gradio_api
MOST_LINK = 1000  # characters: cameras cannot read a larger QR code off a screen
MOST_SENT = 2 * MOST_TRACE  # bytes of a body: as a JSON string a trace grows, since every quotation mark is escaped
DAY = {"Cache-Control": "max-age=86400"}
FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}  # the address contains the version


class PackedPage:
    """Compresses the page itself, which contains our scripts. Gradio compresses only paths with a file ending."""

    def __init__(self, app: ASGIApp):
        self.app, self.packed = app, GZipMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.packed if scope.get("path") == "/" else self.app)(scope, receive, send)


class OwnPart:
    """Puts our style and scripts at the end of the page. The browser runs them while it fetches Gradio's; from a component's `head`, Gradio
    would insert them only after it has mounted the whole page."""

    def __init__(self, app: ASGIApp, own: Callable[[], str]):
        self.app, self.own = app, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/":
            return await self.app(scope, receive, send)
        start, body = {}, b""

        async def complete(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            before, end, after = body.rpartition(b"</body>")
            page = b"".join((before, self.own().encode() if end else b"", end, after))
            MutableHeaders(raw=start["headers"])["content-length"] = str(len(page))
            await send(start)
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, complete)


class NoUploads:
    """Gradio accepts files and bodies of any size from anybody, although this page needs none. Here files are refused, and so is any body
    larger than a trace sent as JSON."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = MOST_SENT

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"more than {MOST_SENT >> 20} MB are not taken here")
            return message

        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].rstrip("/").endswith(("/upload", "/upload_progress")):
            await PlainTextResponse("no files are taken here: a trace is opened in your browser", 403)(scope, receive, send)
        else:
            await self.app(scope, bounded, send)


def routes(visits: Visits, openai: bool = False) -> list[Route]:
    """`openai` adds the OpenAI-compatible API."""
    began = time.monotonic()

    async def health(request: Request) -> Response:
        return JSONResponse(state_of(visits) | {"uptime_seconds": round(time.monotonic() - began)})

    async def models(request: Request) -> Response:
        return JSONResponse(models_of(visits), headers={"Cache-Control": "no-store"})

    own = {"health": health, "models": models, "plotly.js": plotly_js, "offline.txt": offline, "lecture.html": lecture, "qr.svg": qr}
    pages = [Route("/health", health), *(Route(f"{OWN}/{name}", answer) for name, answer in own.items())]
    pages.append(Route("/assets/{name}", gradio_asset))
    pages += completion_routes(visits) if openai else []
    return [*pages, *study_routes(visits, OWN), *room_routes(Rooms(), OWN, visits.limits.rooms_a_minute, plotly_address())]


def state_of(visits: Visits) -> dict:
    """For monitoring. Before the model is loaded the status is "loading", and what is not known yet is null or missing."""
    device, host, engine = visits.device, visits.host, visits.engine
    facts = {"status": "ok" if engine else "loading"} | {name: host[name] or None for name in ("model", "device", "dtype", "level")}
    facts["models"] = models_of(visits)
    source = engine and engine.target.source
    file = {"file": Path(source.file).name, "file_mb": source.megabytes} if source else {}
    counts = {"waiting": device.waiting(), "runs": device.runs, "mean_seconds": device.mean_seconds}
    return facts | file | counts | {"memory_mb": memory_mb()}


def models_of(visits: Visits) -> list[dict]:
    """The models, the host's first, with the seconds that it has been loading or the machine that it is on."""
    first, *others = visits.engines.state()
    loading = first["state"] == "loading"
    return [first | ({"seconds": round(visits.device.preparing or 0)} if loading else {"machine": visits.host["machine"]}), *others]


def plotly_address() -> str:
    """A relative address, so that it works behind a proxy's path."""
    return f"{OWN[1:]}/plotly.js?v={plotly.__version__}"


@cache
def packed_plotly() -> bytes:
    """Compressed once. Gradio would do it for every visitor, a quarter of a second of one core beside somebody's race."""
    return gzip.compress(PLOTLY_JS.read_bytes(), mtime=0)


def plotly_js(request: Request) -> Response:
    return lasting(request, packed_plotly(), PLOTLY_JS.name)


@cache
def packed_asset(name: str) -> bytes:
    """Compressed once. Gradio would read and compress all sixty for every visitor."""
    return gzip.compress((GRADIO_ASSETS / name).read_bytes(), mtime=0)


async def gradio_asset(request: Request) -> Response:
    """Gradio's own scripts and styles. Their names contain a hash of their content."""
    name = request.path_params["name"]
    if name not in gradio_assets():
        return PlainTextResponse("no such file", 404)
    return lasting(request, packed_asset(name), name)


@cache
def gradio_assets() -> frozenset[str]:
    return frozenset(os.listdir(GRADIO_ASSETS))


def lasting(request: Request, packed: bytes, name: str) -> Response:
    """A file that the browser may keep for good."""
    plain = "gzip" not in request.headers.get("accept-encoding", "")
    headers = FOR_GOOD | {"Vary": "Accept-Encoding"} | ({} if plain else {"Content-Encoding": "gzip"})
    return Response(gzip.decompress(packed) if plain else packed, media_type=guess_type(name)[0], headers=headers)


def offline(request: Request) -> Response:
    """The empty offline page, which the browser fills in; plain text, because nobody opens it here. Not async, so it runs in its own
    thread: the first call compresses plotly.js."""
    return PlainTextResponse(template(), headers=DAY)


def lecture(request: Request) -> Response:
    """The recorded runs that come with the project, as one offline page to download."""
    headers = DAY | {"Content-Disposition": 'attachment; filename="eesd-lecture.html"'}
    return Response(lecture_page(), media_type="text/html", headers=headers)


@cache
def lecture_page() -> str:
    more = sorted((TRACES / "lecture").glob("*.ndjson"))
    return export(open_trace(TRACES / "opening.ndjson"), "html", *map(open_trace, more))


def qr(request: Request) -> Response:
    link = request.query_params.get("link", "")
    if not link.startswith(("http://", "https://")) or len(link) > MOST_LINK:
        return PlainTextResponse(f"link must be an address of at most {MOST_LINK} characters", 400)
    drawing = io.BytesIO()
    segno.make(link, error="l", micro=False).save(drawing, kind="svg", scale=4, border=2, light="#fff")
    return Response(drawing.getvalue(), media_type="image/svg+xml", headers=DAY)
