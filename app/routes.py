"""Pages beside the page: /health for whoever watches the server, the empty offline page, QR codes, and what studies.py has."""

import io
import os
import time
from pathlib import Path

import segno
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from eesd_core.export.standalone import template

from .studies import study_routes
from .visit import Visits

OWN = "/gradio_api/eesd"  # where the page is rendered on the server too, Node passes on what is below /gradio_api and nothing else
MOST_LINK = 1000  # characters: more makes a code that no camera reads off a screen
DAY = {"Cache-Control": "max-age=86400"}


def routes(visits: Visits) -> list[Route]:
    began = time.monotonic()

    async def health(request: Request) -> Response:
        return JSONResponse(state_of(visits) | {"uptime_seconds": round(time.monotonic() - began)})

    own = {"health": health, "offline.txt": offline, "qr.svg": qr}
    return [Route("/health", health), *(Route(f"{OWN}/{name}", answer) for name, answer in own.items()), *study_routes(visits, OWN)]


def state_of(visits: Visits) -> dict:
    device, target = visits.device, visits.engine.target
    facts = {"status": "ok", "model": target.name, "device": str(target.device), "dtype": target.precision}
    counts = {"level": visits.engine.level, "waiting": device.waiting(), "runs": device.runs, "mean_seconds": device.mean_seconds}
    return facts | counts | {"memory_mb": memory_mb()}


def memory_mb() -> float | None:
    """Resident memory of this process; None where the system does not say."""
    statm = Path("/proc/self/statm")
    return round(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1) if statm.exists() else None


def offline(request: Request) -> Response:
    """In a thread of its own, since the first call packs plotly.js. As plain text: the browser fills it in, nobody opens it here."""
    return PlainTextResponse(template(), headers=DAY)


def qr(request: Request) -> Response:
    link = request.query_params.get("link", "")
    if not link.startswith(("http://", "https://")) or len(link) > MOST_LINK:
        return PlainTextResponse(f"link must be an address of at most {MOST_LINK} characters", 400)
    drawing = io.BytesIO()
    segno.make(link, error="l", micro=False).save(drawing, kind="svg", scale=4, border=2, light="#fff")
    return Response(drawing.getvalue(), media_type="image/svg+xml", headers=DAY)
