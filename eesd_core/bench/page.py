"""The report as one HTML file that opens anywhere, offline. It contains report.json, and its script shows nothing else.

Built like a trace's file (export/standalone.py): scripts are allowed only by their hashes, the network is forbidden, plotly.js is
compressed, and names of models and prompts reach the page as text only.
"""

import base64
import gzip
import json

from ..export.scripts import WEB, join_modules
from ..export.standalone import PLOTLY_JS, source_hash


def to_html(report: dict) -> str:
    plotly_js = PLOTLY_JS.read_text(encoding="utf-8")
    script = join_modules("bench/report.js")
    style = (WEB / "bench" / "report.css").read_text(encoding="utf-8")
    allowed = " ".join(map(source_hash, (script, plotly_js)))
    rules = f"script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    packed = base64.b64encode(gzip.compress(plotly_js.encode(), mtime=0)).decode()
    data = json.dumps(report, allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; {rules}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>EESD Live: benchmark</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n<header></header>\n<main></main>\n"
        f'<script type="application/json" id="report">{data}</script>\n<script type="text/plain" id="plotly">{packed}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )
