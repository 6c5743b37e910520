"""Reads a JSON object from the body of a request."""

import json

from starlette.requests import Request

from eesd_core.errors import UserError


async def json_object(request: Request, most: int) -> dict:
    """A JSON object of at most `most` bytes. Its content type is one that browsers do not let other sites send. Raises UserError."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UserError("send application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise UserError(f"the request is larger than {most >> 10} kB: send less")
    try:
        values = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError("send the values by name, as one JSON object")
    return values
