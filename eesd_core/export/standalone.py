"""A run as one HTML file that opens anywhere, offline: the page's own renderer, plotly.js, and the trace.

Scripts are allowed only by their hashes, and the network is forbidden, so that nothing in a trace could run or call home even if it broke
out of its element. It cannot break out either, because a trace contains no "<". plotly.js is kept compressed (2 MB instead of 5).

Several traces make a lecture page: the same file with a list to choose from. They are compressed too.
"""

import base64
import gzip
import hashlib
import json
from functools import cache
from pathlib import Path

import plotly

from ..schema import SCHEMA
from ..trace import Trace
from .scripts import WEB, join_modules

PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PLACE = '<script type="application/x-ndjson" id="trace">'  # the trace is inserted after this


def to_html(trace: Trace, *more: Trace) -> str:
    before, after = template().split(PLACE)
    if not more:
        return before + PLACE + trace.text + after
    packed = [base64.b64encode(gzip.compress(one.text.encode(), mtime=0)).decode() for one in (trace, *more)]
    listed = f'<script type="application/json" id="traces">{json.dumps(packed)}</script>\n'
    return before + listed + PLACE + after


@cache
def template() -> str:
    """The file without a trace. The browser fills in the same template (assets/web/lib/exports.js)."""
    plotly_js = PLOTLY_JS.read_text(encoding="utf-8")
    script = join_modules("standalone.js", {"schema": SCHEMA})
    styles = ("base.css", "style.css", "guide.css", "takeaway.css", "together.css", "sandbox.css", "standalone.css")
    style = "\n".join((WEB / name).read_text(encoding="utf-8") for name in styles)
    allowed = " ".join(map(source_hash, (script, plotly_js)))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    packed = base64.b64encode(gzip.compress(plotly_js.encode(), mtime=0)).decode()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>EESD Live: a recorded run</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n"
        '<header class="s-title"></header>\n<main><div class="eesd"></div></main>\n'
        f'{PLACE}</script>\n<script type="text/plain" id="plotly">{packed}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def source_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
