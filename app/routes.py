"""Pages beside the page: /health for whoever watches the server, plotly.js, the empty offline page, QR codes, studies and rooms."""

import gzip
import io
import time
from functools import cache
from pathlib import Path

import plotly
import segno
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
from .openai import completion_routes
from .room_routes import room_routes
from .rooms import Rooms
from .runs import Visits
from .studies import study_routes

TRACES = Path(__file__).resolve().parents[1] / "assets" / "traces"
OWN = "/gradio_api/eesd"  # where the page is rendered on the server too, Node passes on what is below /gradio_api and nothing else
MOST_LINK = 1000  # characters: more makes a code that no camera reads off a screen
MOST_SENT = 2 * MOST_TRACE  # bytes of a body: JSON puts a stroke before every quotation mark of a trace
DAY = {"Cache-Control": "max-age=86400"}
FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}  # its address has its version


class PackedPage:
    """The page itself, packed on its way: it has our scripts in it. Gradio packs only what has a file's name."""

    def __init__(self, app: ASGIApp):
        self.app, self.packed = app, GZipMiddleware(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.packed if scope.get("path") == "/" else self.app)(scope, receive, send)


class NoUploads:
    """Gradio takes files from anybody, and bodies of any size, also where no part of the page has any use for one: here it takes no file,
    and nothing larger than a trace that is sent as JSON."""

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
    """`openai`: completions as OpenAI's interface has them too."""
    began = time.monotonic()

    async def health(request: Request) -> Response:
        return JSONResponse(state_of(visits) | {"uptime_seconds": round(time.monotonic() - began)})

    async def models(request: Request) -> Response:
        return JSONResponse(visits.engines.state(), headers={"Cache-Control": "no-store"})

    own = {"health": health, "models": models, "plotly.js": plotly_js, "offline.txt": offline, "lecture.html": lecture, "qr.svg": qr}
    pages = [Route("/health", health), *(Route(f"{OWN}/{name}", answer) for name, answer in own.items())]
    pages += completion_routes(visits) if openai else []
    return [*pages, *study_routes(visits, OWN), *room_routes(Rooms(), OWN, visits.limits.rooms_a_minute, plotly_address())]


def state_of(visits: Visits) -> dict:
    device, target = visits.device, visits.engine.target
    facts = {"status": "ok", "model": target.name, "device": str(target.device), "dtype": target.precision}
    facts["models"] = visits.engines.state()
    counts = {"level": visits.engine.level, "waiting": device.waiting(), "runs": device.runs, "mean_seconds": device.mean_seconds}
    source = target.source
    file = {"file": Path(source.file).name, "file_mb": source.megabytes} if source else {}
    return facts | file | counts | {"memory_mb": memory_mb()}


def plotly_address() -> str:
    """Relative, so that it works behind a proxy's path."""
    return f"{OWN[1:]}/plotly.js?v={plotly.__version__}"


@cache
def packed_plotly() -> bytes:
    """Once, and not for every visitor, as Gradio would: that takes a core a quarter of a second, beside somebody's race."""
    return gzip.compress(PLOTLY_JS.read_bytes(), mtime=0)


def plotly_js(request: Request) -> Response:
    packed = "gzip" in request.headers.get("accept-encoding", "")
    headers = FOR_GOOD | {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packed else {})
    return Response(packed_plotly() if packed else PLOTLY_JS.read_bytes(), media_type="text/javascript", headers=headers)


def offline(request: Request) -> Response:
    """In a thread of its own, since the first call packs plotly.js. As plain text: the browser fills it in, nobody opens it here."""
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
