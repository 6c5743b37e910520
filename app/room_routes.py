"""HTTP routes of rooms (rooms.py): the presenter's page opens a room, sends updates and closes it; phones follow and answer.

Data from a page is only passed on: its types and sizes are checked here, and the phones draw it as text.
"""

from functools import cache
from math import isfinite

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from eesd_core.errors import UserError
from eesd_core.export.scripts import WEB, join_modules
from eesd_core.export.standalone import source_hash
from eesd_core.schema import SCHEMA

from .api import address_of
from .json_body import json_object
from .rate_limit import Pace
from .rooms import Rooms, line

LINES = "application/x-ndjson"
MOST_SAID = 512 * 2**10  # bytes of one update: the presenter's page sends a long run in parts
MOST_ANSWER = 1024
STYLES = ("base.css", "style.css", "guide.css", "standalone.css", "rooms.css")
PLACE = {"cursor": int, "time": float, "speed": float, "playing": bool, "live": bool, "round": int}  # the playhead's state
KINDS = ("accepted", "count")  # will the next draft be accepted; how many of the round's drafts
MOST_CHOICES = 17  # 0 to 16 drafts


def room_routes(rooms: Rooms, root: str, opened_a_minute: int, plotly: str) -> list[Route]:
    """`opened_a_minute`: rooms that one address may open; `plotly`: address of plotly.js, relative to the page's."""
    pace = Pace(opened_a_minute)

    def taking(most: int, act):
        async def handler(request: Request) -> Response:
            try:
                return act(request, await json_object(request, most))
            except UserError as problem:
                return JSONResponse({"error": str(problem)}, 400)

        return handler

    def open_(request: Request, _: dict) -> Response:
        if wait := pace.ask(address_of(request)):
            raise UserError(f"{opened_a_minute} rooms a minute is the most: try again in {wait:.0f} seconds")
        room = rooms.open()
        return JSONResponse({"code": room.code, "key": room.key})

    def say(_: Request, said: dict) -> Response:
        room = rooms.presented(said.get("code"), said.get("key"))
        run, offset, text = said.get("run"), said.get("offset"), said.get("text")
        if not (is_whole(run) and is_whole(offset) and isinstance(text, str)):
            raise UserError("run and offset must be whole numbers, text must be text")
        return JSONResponse(room.hear(run, offset, text, place_of(said.get("place")), question_of(said.get("question"))))

    def close(_: Request, said: dict) -> Response:
        rooms.close(rooms.presented(said.get("code"), said.get("key")))
        return JSONResponse({})

    def answer(_: Request, said: dict) -> Response:
        phone, question, choice = said.get("phone"), said.get("question"), said.get("choice")
        if not (isinstance(phone, str) and is_whole(question) and is_whole(choice)):
            raise UserError("an answer has a phone, a question and a choice")
        rooms.room(said.get("code")).answer(phone, question, choice)
        return JSONResponse({})

    async def follow(request: Request) -> Response:
        try:
            lines = rooms.room(request.query_params.get("code")).follow()
            first = await anext(lines)
        except UserError as problem:
            return Response(line(refused=str(problem)), media_type=LINES)  # in the stream's format

        async def rest():
            yield first
            async for part in lines:
                yield part

        return StreamingResponse(rest(), media_type=LINES, headers={"Cache-Control": "no-store"})

    def room_page(request: Request) -> Response:
        return HTMLResponse(follower_page(plotly))

    posts = {"open": (MOST_ANSWER, open_), "say": (MOST_SAID, say), "close": (MOST_ANSWER, close), "answer": (MOST_ANSWER, answer)}
    routes = [Route(f"{root}/room/{name}", taking(*rule), methods=["POST"]) for name, rule in posts.items()]
    return [*routes, Route(f"{root}/room/follow", follow), Route(f"{root}/room", room_page)]


def is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def place_of(given: object) -> dict:
    """The playhead's state, checked. Raises UserError."""
    if not isinstance(given, dict) or not given.keys() <= PLACE.keys():
        raise UserError(f"place has {', '.join(PLACE)}")
    for name, value in given.items():
        right = type(value) is bool if PLACE[name] is bool else type(value) in (int, float) and isfinite(value) and 0 <= value < 1e9
        if not right and value is not None:
            raise UserError(f"place: {name} cannot be that")
    return given


def question_of(given: object) -> dict | None:
    """A question about the next round, checked. Once the round is over it also has the truth, what the controller did, and its belief if
    it has one. Raises UserError."""
    if given is None:
        return None
    wrong = UserError("a question has id, kind and choices (their number), and once it is over truth, guess and belief")
    if not isinstance(given, dict) or given.get("kind") not in KINDS or not all(is_whole(given.get(name)) for name in ("id", "choices")):
        raise wrong
    choices = given["choices"]
    if not 2 <= choices <= MOST_CHOICES:
        raise wrong
    question = {name: given[name] for name in ("id", "kind", "choices")}
    if "truth" not in given:
        return question
    truth, guess, belief = (given.get(name) for name in ("truth", "guess", "belief"))
    if not all(is_whole(value) and value < choices for value in (truth, guess)):
        raise wrong
    if belief is not None and (type(belief) not in (int, float) or not 0 <= belief <= 1):
        raise wrong
    return question | {"truth": truth, "guess": guess, "belief": belief}


@cache  # built when the first phone comes
def follower_page(plotly: str) -> str:
    """The page that a phone loads: the view without Gradio. It may load only our script, plotly.js and data from this server."""
    script = join_modules("follow.js", {"schema": SCHEMA, "page": {"plotly": plotly.rpartition("/")[2]}})
    style = "\n".join((WEB / name).read_text(encoding="utf-8") for name in STYLES)
    policy = (
        f"default-src 'none'; script-src {source_hash(script)} 'self'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>EESD Live: follow along</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n"
        '<header class="s-title"></header>\n<main><div class="eesd"></div></main>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
