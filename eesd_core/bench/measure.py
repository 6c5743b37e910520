"""The measuring itself: a generator that runs every missing cell, one after the other, and reports progress.

For every prompt all methods run in turn, in reverse order on every second repeat (A B B A), after a warm-up of each that is thrown away.
A controller keeps what it has learned from prompt to prompt, as a server's would, even across an interruption; each repeat has its own.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch

from ..control import Controller
from ..draft.registry import Drafting
from ..draft.skip_set import SkipSet
from ..engine import Engine
from ..errors import UserError
from ..model.cpu.huge_pages import use_large_pages
from ..simulate.skip_search import TRIALS, search_skips
from . import machine
from .cells import Cells
from .methods import parse_method
from .prompts import read_prompts
from .runners import Runner, make_runners
from .suites import Group
from .written import Written

SEARCH_TEXTS = 4  # number of the page's examples, which are not among the benchmark's prompts
WARM_UP = 8  # tokens
SKIPS = "skips"  # the note that keeps the skip set found by the search


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int
    seconds_left: float
    doing: str

    def line(self) -> str:
        if not self.total:
            return self.doing
        filled = 24 * self.done // self.total
        return f"[{'#' * filled}{'.' * (24 - filled)}] {self.done} of {self.total}, {self.seconds_left / 60:.0f} min left: {self.doing}"


def settings_of(engine: Engine, suite: str, groups: tuple[Group, ...]) -> dict:
    """Everything that two benchmarks must share to be comparable, as plain values: model, machine, versions, and what is run."""
    target, exit_layer = engine.target, engine.exit_layer
    model = {"name": target.name, "fingerprint": target.fingerprint, "layers": target.depth, "vocabulary": target.vocab}
    model |= {"dtype": str(target.dtype).removeprefix("torch."), "context": target.context, "exactness": engine.level}
    if exit_layer is not None:
        model |= {"exit_after": exit_layer.exit_after, "exit_layer": exit_layer.fingerprint}
        model |= {"exit_note": exit_layer.note}
    rest = {"machine": machine.machine(target.device)} | {"suite": suite, "groups": [asdict(group) for group in groups]}
    return {"model": model} | rest


def measure(engine: Engine, groups: tuple[Group, ...], cells: Cells, cancelled: Callable[[], bool] = bool) -> Iterator[Progress]:
    """Yields before the first cell and after every one. `cancelled` is asked between cells. Raises UserError before the first cell."""
    todo = []
    yield Progress(len(cells), 0, 0.0, "preparing")
    for group in groups:
        _check_prompts(engine, group)
    for doing in _look_for_skips(engine, groups, cells):
        if cancelled():
            return
        yield Progress(len(cells), 0, 0.0, doing)
    for group in groups:
        runners, missing = _prepare(engine, group, cells)
        for name, reason in missing.items():
            cells.note(f"{group.name}: {name}", f"left out: {reason}")
        todo.append((group, runners))
    if wishes := engine.target.wishes:
        cells.note("generation_config.json", f"no method here obeys what it asks for: {', '.join(f'{k} {v}' for k, v in wishes.items())}")
    if engine.target.device.type == "cpu":
        use_large_pages({})  # for the peers' own weights too
    total = sum(len(group.prompts) * group.repeats * len(runners) for group, runners in todo)
    meter = machine.joule_meter(engine.target.device)
    clock = Clock(todo, cells)
    yield Progress(len(cells), total, clock.left(), "warming up")
    for group, runners in todo:
        if all(cells.get(*place) for place in _places(group, runners)):
            continue
        for runner in runners.values():
            runner.write(group.prompts[0], min(WARM_UP, group.new_tokens), group.sampling, runner.controller(group.sampling.seed))
        controllers: dict[tuple[str, int], Controller | None] = {}
        for name, prompt, repeat in _order(group, runners):
            if cell := cells.get(group.name, name, prompt, repeat):
                controllers[name, repeat] = _restored(runners[name], group, cell)
                continue
            if cancelled():
                return
            if (name, repeat) not in controllers:
                controllers[name, repeat] = runners[name].controller(group.sampling.seed)
            began = time.perf_counter()
            place = {"group": group.name, "method": name, "prompt": prompt, "repeat": repeat}
            cells.add(place | _cell(runners[name], group, prompt, controllers[name, repeat], meter))
            clock.took(group, name, time.perf_counter() - began)
            yield Progress(len(cells), total, clock.left(), f"{group.title}, {name}")


def _check_prompts(engine: Engine, group: Group) -> None:
    """Raises UserError, before the work, for a prompt that does not fit."""
    plain = Runner(engine, parse_method("vanilla"))
    for prompt in group.prompts:
        try:
            plain.ids(prompt, group.new_tokens, group.sampling)
        except UserError as problem:
            raise UserError(f"prompt {prompt.id}: {problem}") from None


def _look_for_skips(engine: Engine, groups: tuple[Group, ...], cells: Cells) -> Iterator[str]:
    """Search for a skip set, once per benchmark, if a method skips layers and does not say which."""
    if SKIPS not in cells.notes and any(parse_method(name).drafter == Drafting("layer-skip") for group in groups for name in group.methods):
        for trial in search_skips(engine, read_prompts(None, SEARCH_TEXTS)):
            tried = f"{trial.number} of {TRIALS} sets tried"
            yield f"looking for layers to skip, {tried}, the best writes {trial.worth:.2f} tokens in the time of a plain step"
        cells.note(SKIPS, str(trial.best))


def _prepare(engine: Engine, group: Group, cells: Cells) -> tuple[dict[str, Runner], dict[str, str]]:
    """A group's runners by method, and the reasons why other methods cannot run here."""
    skips = SkipSet.parse(cells.notes[SKIPS]) if SKIPS in cells.notes else None
    runners, missing = make_runners(engine, [parse_method(name) for name in group.methods], skips)
    for name, runner in list(runners.items()):
        if runner.method.peer:
            try:
                runner.write(group.prompts[0], min(WARM_UP, group.new_tokens), group.sampling, None)
            except UserError as problem:
                missing[name] = str(problem)
                del runners[name]
    if len(runners) < 2:
        raise UserError("; ".join(missing.values()) or "there is nothing to compare with vanilla: name another method")
    return runners, missing


def _order(group: Group, runners: dict[str, Runner]) -> Iterator[tuple[str, int, int]]:
    for prompt in range(len(group.prompts)):
        for repeat in range(group.repeats):
            for name in list(runners) if repeat % 2 == 0 else list(runners)[::-1]:
                yield name, prompt, repeat


def _places(group: Group, runners: dict[str, Runner]) -> Iterator[tuple]:
    return ((group.name, *place) for place in _order(group, runners))


def _restored(runner: Runner, group: Group, cell: dict) -> Controller | None:
    controller = runner.controller(group.sampling.seed)
    if controller is not None:
        controller.restore(cell["state"])
    return controller


def _cell(runner: Runner, group: Group, number: int, controller: Controller | None, meter: Callable[[], float] | None) -> dict:
    target, prompt = runner.engine.target, group.prompts[number]
    on_gpu = target.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(target.device)
    joules = meter() if meter else None
    began = time.perf_counter()
    written = runner.write(prompt, group.new_tokens, group.sampling, controller)
    wall = time.perf_counter() - began
    check(written, group.new_tokens, target.end_ids, runner.method.name)
    cell = asdict(written) | {"wall_seconds": wall, "joules": meter() - joules if meter else None}
    cell |= {"peak_bytes": torch.cuda.max_memory_allocated(target.device) if on_gpu else None, "drafter": runner.drafter}
    if runner.method.name != "vanilla":
        del cell["margins"]
    return cell | ({"state": controller.state()} if controller is not None else {})


def check(written: Written, new_tokens: int, end_ids: frozenset[int], method: str) -> None:
    """Check the stop rule, the same for all methods: exactly `new_tokens` tokens, or fewer if the last one, and no other, ends the text."""
    ids = written.ids
    ends = [place for place, id in enumerate(ids) if id in end_ids]
    if len(ids) > new_tokens or (ends and ends[0] != len(ids) - 1) or (len(ids) < new_tokens and not ends):
        raise RuntimeError(f"{method} broke the stop rule: {len(ids)} tokens of {new_tokens}, ends at {ends[:3]}")
    if sum(accepted + 1 for _, accepted in written.rounds) < len(ids):
        raise RuntimeError(f"{method} wrote tokens that no round accounts for")


class Clock:
    """Estimates the time left from what each method has taken so far; a method not yet seen counts as the mean of all."""

    def __init__(self, todo: list[tuple[Group, dict[str, Runner]]], cells: Cells):
        self.missing: dict[tuple[str, str], int] = {}
        self.tokens = {group.name: group.new_tokens for group, _ in todo}
        self.seen: dict[tuple[str, str], list[float]] = defaultdict(list)
        for group, runners in todo:
            for place in _places(group, runners):
                key = place[:2]
                if cell := cells.get(*place):
                    self.seen[key].append(cell["wall_seconds"])
                else:
                    self.missing[key] = self.missing.get(key, 0) + 1

    def took(self, group: Group, method: str, seconds: float) -> None:
        self.seen[group.name, method].append(seconds)
        self.missing[group.name, method] -= 1

    def left(self) -> float:
        """Seconds; 0 before anything was seen."""
        paces = {key: sum(times) / len(times) / self.tokens[key[0]] for key, times in self.seen.items()}
        mean = sum(paces.values()) / max(1, len(paces))
        return sum(count * paces.get(key, mean) * self.tokens[key[0]] for key, count in self.missing.items())
