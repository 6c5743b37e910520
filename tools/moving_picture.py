"""The race as an animated picture for the README: `python -m tools.moving_picture [TRACE] --out docs/race.svg`, from a recorded race.

Both lanes run on the recorded clocks, slowed down by one factor. Every draft appears when it was drafted, and gets its state when the
target has verified it. A reply begins on a line of its own. Text beyond the last line is left out. The picture is an SVG without scripts.
"""

import argparse
from collections.abc import Iterator
from html import escape
from pathlib import Path

from app.page import OPENING
from eesd_core.rounds import Lane, Token, fold
from eesd_core.trace import open_trace

WIDTH, MARGIN, LINE = 880, 20, 26
CHARACTER, PER_LINE = 8.4, 98  # 14 px monospace: pixels per character, characters per line
LINES = {"eesd": 12, "vanilla": 8}
NAMES = {"eesd": "EESD", "vanilla": "Vanilla"}
SLOWER, PAUSE = 4.0, 3.0  # factor; seconds of rest at the end
COLOURS = {
    "accepted": "#0072b2", "rejected": "#d55e00", "untested": "#8a93a0", "correction": "#009e73", "bonus": "#e69f00", "plain": "#8a93a0",
}  # fmt: skip
STYLE = """text { font: 14px ui-monospace, Menlo, Consolas, monospace; fill: #1b2430; white-space: pre }
.name { font: 600 15px system-ui, sans-serif } .clock { font: 13px system-ui, sans-serif; fill: #586373 }
.ground { fill: #f6f7f9 } .prompt { fill: #586373 } .rejected, .untested { fill: #8a93a0 }
@media (prefers-color-scheme: dark) { text { fill: #e6eaf0 } .ground { fill: #1a1d24 } .clock, .prompt { fill: #9ca8b8 } }"""


def shown(lane: Lane) -> Iterator[tuple[Token, float, float]]:
    """Tokens of the lane's rounds, each with the times on its clock at which it appears and is judged. Siblings and control tokens, such as
    the one that ends the text, are left out."""
    for round in lane.judged:
        for token in (*round.spine, *filter(None, [round.next])):
            if token.id not in (lane.started.special_ids or ()):
                yield token, (token.end if token.draft else round.verified), round.verified


def picture(eesd: Lane, vanilla: Lane) -> str:
    lanes = {"eesd": eesd, "vanilla": vanilla}
    length = SLOWER * max(lane.clock for lane in lanes.values()) + PAUSE
    top, parts = 12, []
    for name, lane in lanes.items():
        height = LINE * LINES[name] + 40
        parts.append(f'<rect class="ground" x="6" y="{top}" width="{WIDTH - 12}" height="{height}" rx="10"/>')
        parts.append(f'<text class="name" x="{MARGIN}" y="{top + 24}">{NAMES[name]}</text>')
        parts += clock(lane, top, length)
        parts += words(lane, top + 52, LINES[name], length)
        top += height + 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + 4}" width="{WIDTH}" role="img"'
    label = f"A recorded race: EESD {eesd.clock:.2f} s, vanilla {vanilla.clock:.2f} s for the same text"
    return f'{head} aria-label="{label}">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"


def clock(lane: Lane, top: float, length: float) -> list[str]:
    """A bar that grows while the lane computes, and the clock's final time."""
    left, width = 110, WIDTH - 330
    end = SLOWER * lane.clock / length
    full = width * SLOWER * lane.clock / (length - PAUSE)
    grow = animate("width", f"0;{full:.1f};{full:.1f}", (0.0, end, 1.0), length)
    colour = COLOURS["accepted" if lane.name == "eesd" else "plain"]
    bar = f'<rect x="{left}" y="{top + 13}" height="12" rx="2" width="{full:.1f}" fill="{colour}">{grow}</rect>'
    said = f"{lane.clock:.2f} s, {len(lane.token_ids) / lane.clock:.0f} tokens/s"
    return [bar, f'<text class="clock" x="{left + full + 8:.1f}" y="{top + 24}">{said}{appear(end, length)}</text>']


def words(lane: Lane, top: float, lines: int, length: float) -> Iterator[str]:
    prompt = "".join(filter(str.isprintable, lane.started.prompt))[:PER_LINE]
    yield f'<text class="prompt" x="{MARGIN}" y="{top}">{escape(prompt)}</text>'
    line, column = (1, 0) if lane.started.settings.get("chat") else (0, len(prompt))
    for token, begins, judged in shown(lane):
        text = "".join(sign if sign.isprintable() else " " for sign in token.text)
        if column + len(text) > PER_LINE:
            line, column = line + 1, 0
        text = text if column else text.lstrip()
        if line == lines:
            return
        x, y = MARGIN + CHARACTER * column, top + LINE * line
        column += len(text)
        if "\n" in token.text and token.state not in ("rejected", "untested"):
            line, column = line + 1, 0
        if text.strip():
            yield from mark(token, text, x, y, SLOWER * begins / length, SLOWER * judged / length, length)


def mark(token: Token, text: str, x: float, y: float, begins: float, judged: float, length: float) -> Iterator[str]:
    """A token that is pending from `begins` on and in its state from `judged` on; both are shares of the whole length."""
    lead = len(text) - len(text.lstrip())
    x, text = x + CHARACTER * lead, text.strip()
    place = f'x="{x:.1f}" y="{y:.1f}" textLength="{CHARACTER * len(text):.1f}"'
    if judged > begins:
        box = f'<rect x="{x - 1:.1f}" y="{y - 14:.1f}" width="{CHARACTER * len(text) + 2:.1f}" height="19" fill="none" stroke="#8a93a0"'
        yield f'<g class="pending">{box} stroke-dasharray="3 2"/><text {place}>{escape(text)}</text>{appear(begins, length, judged)}</g>'
    lines = "".join(lines_of(token.state, x, y, len(text)))
    yield f'<g><text class="{token.state}" {place}>{escape(text)}</text>{lines}{appear(judged, length)}</g>'


def lines_of(state: str, x: float, y: float, characters: int) -> Iterator[str]:
    """The shape that shows a state: as on the page, colour is never the only sign."""
    heights = {"accepted": (4,), "rejected": (-4,), "untested": (-4,), "correction": (4,), "bonus": (3, 6)}.get(state, ())
    for below in heights:
        dotted = ' stroke-dasharray="2 2"' if state == "correction" else ""
        ends = f'x1="{x:.1f}" x2="{x + CHARACTER * characters:.1f}" y1="{y + below:.1f}" y2="{y + below:.1f}"'
        yield f'<line {ends} stroke="{COLOURS[state]}" stroke-width="{1.4 if state == "bonus" else 2}"{dotted}/>'


def appear(begins: float, length: float, ends: float = 1.0) -> str:
    """Visible from one share of the length to another, repeated forever."""
    if ends < 1:
        return animate("opacity", "0;1;0", (0.0, begins, ends), length, "discrete")
    return animate("opacity", "0;1", (0.0, begins), length, "discrete")


def animate(name: str, values: str, shares: tuple[float, ...], length: float, how: str = "linear") -> str:
    times = ";".join(f"{share:.4f}" for share in shares)
    when = f'keyTimes="{times}" dur="{length:.2f}s" repeatCount="indefinite"'
    return f'<animate attributeName="{name}" calcMode="{how}" values="{values}" {when}/>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", nargs="?", type=Path, default=OPENING)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    records = open_trace(flags.trace).records
    flags.out.write_text(picture(*(fold(records, name) for name in ("eesd", "vanilla"))), encoding="utf-8")


if __name__ == "__main__":
    main()
