"""A benchmark from beginning to end: plan, measure, report. The same command resumes an interrupted one.

While it runs, its cells are in OUT/unfinished-DIGEST.ndjson. When it is finished, they are moved to a folder OUT/DATE-SUITE, next to the
report in three forms: report.json, report.csv and report.html.
"""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ..engine import Engine
from ..errors import UserError
from ..sampling import Sampling
from . import machine
from .cells import Cells, digest
from .latest import FORMAT, OUT
from .measure import Progress, measure, settings_of
from .page import to_html
from .prompts import Prompt
from .published import PUBLISHED
from .suites import Group, make_suite
from .summary import summarise
from .table import print_report, to_csv


class Benchmark:
    """`run` measures what is missing and yields progress; afterwards `report` has the figures and `folder` the files."""

    def __init__(self, engine: Engine, suite: str, groups: tuple[Group, ...], out: Path = OUT):
        """Raises UserError for cells that cannot be read, an `out` that cannot be written to, and a model that runs in several
        processes."""
        if engine.target.shards > 1:
            raise UserError("a benchmark runs in one process: start it without torchrun; a model too large for one GPU is spread over all")
        self.engine, self.suite, self.groups, self.out = engine, suite, groups, out
        self.settings = settings_of(engine, suite, groups)
        self.cells = Cells(out / f"unfinished-{digest(self.settings)}.ndjson", self.settings)
        self.report: dict | None = None
        self.folder: Path | None = None

    def run(self, cancelled: Callable[[], bool] = bool) -> Iterator[Progress]:
        """Raises UserError. If it is cancelled, `report` stays None."""
        busy = machine.load()
        progress = None
        try:
            for progress in measure(self.engine, self.groups, self.cells, cancelled):
                yield progress
        finally:
            self.cells.close()
        if progress and progress.done == progress.total > 0:
            self.report = make_report(self.engine, self.settings, self.groups, self.cells, busy)
            self.folder = self._write(self.report)

    def _write(self, report: dict) -> Path:
        stem = f"{report['finished'].replace(':', '')}-{self.suite}"
        again = sum(1 for _ in self.out.glob(f"{stem}*"))  # a small benchmark finishes within one second
        folder = self.out / (f"{stem}-{again + 1}" if again else stem)
        try:
            folder.mkdir()
            (folder / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="ascii")
            (folder / "report.csv").write_text(to_csv(report), encoding="utf-8")
            (folder / "report.html").write_text(to_html(report), encoding="utf-8")
            self.cells.path.rename(folder / "cells.ndjson")
        except OSError as problem:
            raise UserError(f"the report cannot be written to {folder}: {problem.strerror}; give --out another folder") from None
        return folder


def begun_in(out: Path, settings: dict) -> set[str]:
    """Dtypes in which this benchmark was begun and not finished. `--dtype auto` may choose another one than last time."""

    def known(facts: dict) -> list:
        return [facts["suite"], facts["groups"], facts["machine"], facts["model"]["name"]]

    dtypes, mine = set(), known(json.loads(json.dumps(settings)))
    for path in out.glob("unfinished-*.ndjson"):
        try:
            with path.open(encoding="ascii") as lines:
                other = json.loads(next(lines))
            if known(other) == mine:
                dtypes.add(str(other["model"]["dtype"]))
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
    return dtypes


def make_report(engine: Engine, settings: dict, groups: tuple[Group, ...], cells: Cells, busy: float | None) -> dict:
    own = {(group["name"]): group for group in settings["groups"]}
    facts = {"format": FORMAT, "suite": settings["suite"], "finished": datetime.now(UTC).isoformat(timespec="seconds")[:19]}
    facts |= {"model": settings["model"], "machine": settings["machine"] | {"load_at_start": busy}, "sittings": cells.sittings}
    facts |= {"costs_ms": engine.measured.to_json(), "process_peak_bytes": machine.process_peak_bytes(), "notes": cells.notes}
    shown = []
    for group in groups:
        asked = {name: own[group.name][name] for name in ("sampling", "new_tokens", "repeats")}
        shown.append(summarise(group, list(cells)) | asked)
    return facts | {"groups": shown, "published": list(PUBLISHED)}


def plan(
    engine: Engine, suite: str, prompts: list[Prompt], methods: list[str] | None, sampling: Sampling, new_tokens: int, repeats: int
) -> tuple[Group, ...]:
    """The groups of a suite. Raises UserError."""
    return make_suite(suite, prompts, methods, sampling, new_tokens, repeats, engine.target.context)


def bench(engine: Engine, suite: str, groups: tuple[Group, ...], out: Path = OUT) -> dict:
    """Run, show progress on stderr, print the tables, write the files, return the report. Raises UserError."""
    work = Benchmark(engine, suite, groups, out)
    for dtype in sorted(begun_in(out, work.settings) - {work.settings["model"]["dtype"]}):
        print(f"note: this benchmark was begun in {dtype} and not finished: --dtype {dtype} goes on with it", file=sys.stderr)
    before, behind = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
    for progress in work.run():
        print(f"{before}{progress.line()}", end=behind, file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print_report(work.report)
    print(f"report: {work.folder / 'report.html'}")
    return work.report
