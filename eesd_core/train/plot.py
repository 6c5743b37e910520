"""A line chart as SVG: enough for a loss curve in a model card, without a plotting library or a browser."""

from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 56, 44, 28
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00")
Points = list[tuple[float, float]]


def line_chart(series: dict[str, Points], x_title: str, y_title: str) -> str:
    """One line per series, named in the legend; axes from the smallest to the largest value."""
    xs, ys = ([point[axis] for points in series.values() for point in points] for axis in (0, 1))
    (x0, x1), (y0, y1) = (min(xs), max(xs)), (min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (x - x0) / ((x1 - x0) or 1) * (WIDTH - LEFT - 12)
        return right, HEIGHT - BOTTOM - (y - y0) / ((y1 - y0) or 1) * (HEIGHT - BOTTOM - TOP)

    def text(x: float, y: float, content: str, anchor: str = "middle", more: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(content)}</text>'

    font = 'font-family="sans-serif" font-size="12" fill="#334155"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {font}>']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    for i in range(5):
        x, y = x0 + i / 4 * (x1 - x0), y0 + i / 4 * (y1 - y0)
        (right, _), (_, down) = place(x, y0), place(x0, y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 12}" y1="{down:.1f}" y2="{down:.1f}" stroke="#e2e8f0"/>')
        parts += [text(LEFT - 6, down + 4, f"{y:.2f}", "end"), text(right, HEIGHT - BOTTOM + 18, f"{x:.1f}")]
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts.append(text(LEFT + 8 + 200 * number, TOP - 10, name, "start", f'style="fill:{colour};font-weight:bold"'))
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 8, x_title))
    parts.append(text(14, HEIGHT / 2, y_title, "middle", f'transform="rotate(-90 14 {HEIGHT // 2})"'))
    return "\n".join([*parts, "</svg>"]) + "\n"


def loss_curve(stages: list[dict]) -> str:
    """Chart of a training log with consecutive stages: losses of the model, of the exit layer against the model, and on held-out text."""
    names = {"loss": "training loss", "exit_loss": "exit layer against model", "validation_loss": "held-out loss"}
    series: dict[str, Points] = {title: [] for title in names.values()}
    before = 0
    for stage in stages:
        for entry in stage["entries"]:
            for name in names.keys() & entry.keys():
                series[names[name]].append(((before + entry["tokens"]) / 1e6, entry[name]))
        before += stage["entries"][-1]["tokens"]
    return line_chart({title: points for title, points in series.items() if points}, "million tokens", "nats a token")
