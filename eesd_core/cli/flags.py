"""What commands share: their parser, their flags, and what those flags mean."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from ..control import CONTROLLERS, make_controller, parse_controller
from ..draft.registry import DRAFTERS, Drafting, parse_drafter
from ..errors import UserError
from ..limits import MAX_DRAFT, MAX_ROWS
from ..model.cpu.ahead import compile_ahead
from ..model.precisions import CHOICES, check_dtype
from ..replacing import plain
from .terminal import printable


class Parser(argparse.ArgumentParser):
    """argparse without the usage block: an error is one line."""

    def error(self, message: str):
        complain(f"{message} (see {self.prog} --help)")
        sys.exit(2)


def complain(message: str) -> None:
    """Print one line, whatever a path or a file put into it."""
    print(f"error: {' '.join(printable(message).split())}", file=sys.stderr)


def check_writable(path: Path, what: str) -> None:
    """Called before the work: a path that cannot be written must not cost a run. An existing file stays as it is. Raises UserError."""
    there = path.exists()
    try:
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
        elif plain(path):
            with TemporaryFile(dir=path.parent):  # results are written beside the earlier file first
                pass
    except OSError as problem:
        raise UserError(f"{what} cannot be written to {path}: {problem.strerror}; choose another path") from None


def check_folder(folder: Path) -> None:
    """Called before hours of work whose result goes there. Raises UserError."""
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
        if not there:
            folder.rmdir()
    except OSError as problem:
        raise UserError(f"nothing can be written to {folder}: {problem.strerror}; give --out another folder") from None


@contextmanager
def traced(arguments, records: list) -> Iterator[None]:
    """Around a run that appends to `records`: writes the trace that --trace asks for, also of a run that is stopped by Ctrl-C or by a
    reader of the output that has seen enough. Raises UserError."""
    stopped = None
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError) as problem:
        stopped = problem
    if arguments.trace and records:
        from ..trace import write_trace

        write_trace(Path(arguments.trace), records)
    if stopped:
        raise stopped


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text[:40]!r}") from None


def count(text: str) -> int:
    """A whole number of at least 1."""
    if (found := whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {found}")
    return found


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text[:40]!r}") from None


def rate(text: str) -> float:
    if not 0 < (found := number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0, and at most 1, not {text[:40]}")
    return found


def given(text: str) -> str:
    """A name or a path. An empty one is mostly a variable of the shell that is not set, and must not stand for the default."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty: leave the flag out for the default")
    return text


def path(text: str) -> Path:
    return Path(given(text))


def amount(text: str) -> int:
    """A large whole number, which may be written as 2e6."""
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"must be a number such as 2e6, not {text[:40]!r}") from None


MODELS = "storyteller, smollm2, smollm2-early, a .gguf file, a folder, or a Hub id[@revision]"


class Shared(NamedTuple):
    """Flags of several commands, as parent parsers."""

    model: Parser
    said: Parser
    draws: Parser
    writing: Parser  # how a text is written
    text: Parser  # `writing`, and the prompt


def shared_flags() -> Shared:
    model = Parser(add_help=False)
    model.add_argument("--model", type=given, metavar="MODEL", help=f"{MODELS} (default: storyteller, the embedded model)")
    where = "folder or Hub id[@revision] of its exit layer (default: the model's folder); frozen:N for the model's own head after N layers"
    model.add_argument("--exit-layer", type=given, metavar="DIR_OR_ID", help=where)
    others = "folder of other trained heads, a folder for each kind (default: those shipped, or in the model's folder)"
    model.add_argument("--heads", type=given, metavar="DIR", help=others)
    weights = "weights: q8 and q4 on a CPU (4-bit blocks of a GGUF file as they are); 4bit and 8bit by bitsandbytes"
    model.add_argument("--quantize", choices=CHOICES, default="none", help=weights)
    model.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    model.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of unquantised weights")
    model.add_argument("--offline", action="store_true", help="never use the network")
    said = Parser(add_help=False)
    said.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")

    draws = Parser(add_help=False)
    draws.add_argument("--temperature", type=number, default=0.0, metavar="T", help="0 is greedy (default: 0)")
    draws.add_argument("--top-k", type=whole, default=0, metavar="K", help="draw from the K likeliest tokens (0: all)")
    draws.add_argument("--top-p", type=number, default=1.0, metavar="P", help="from the likeliest ones that reach probability P together")
    draws.add_argument("--min-p", type=number, default=0.0, metavar="P", help="from those at least P times as likely as the likeliest")
    rule = "shared-noise writes vanilla's text token for token, rejection keeps its distribution"
    draws.add_argument("--acceptance", choices=["shared-noise", "rejection"], help=f"{rule} (default: shared-noise)")
    draws.add_argument("--seed", type=whole, default=0, metavar="S", help="of draws and controllers (default: 0)")

    writing = Parser(add_help=False)
    system = "what a chat model is told in front of the conversation (default: what its template says)"
    writing.add_argument("--system", default="", metavar="TEXT", help=system)
    writing.add_argument("--max-new-tokens", type=whole, default=128, metavar="N", help="(default: 128)")
    writing.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end the text in front of TEXT; may be given again")
    how = f"one of {', '.join(CONTROLLERS)}; settings follow, as in threshold:0.3 or beta:draw=round:forget=0.95"
    writing.add_argument("--controller", metavar="NAME[:SETTING=VALUE]", help=f"{how} (default: throughput)")
    writing.add_argument("--draft-length", type=whole, metavar="K", help=f"drafts a round, 0 to {MAX_DRAFT}: implies --controller fixed")
    writing.add_argument("--drafter", default="early-exit", metavar="NAME[:SETTING]", help=f"{drafters()} (default: early-exit)")
    rows = f"a tree: siblings may fill up a verify pass to N rows, 1 to {MAX_ROWS}; 1 is a chain (default: the drafter's)"
    writing.add_argument("--rows", type=whole, metavar="N", help=rows)
    writing.add_argument("--prior", type=number, nargs=2, metavar=("ALPHA", "BETA"), help="prior of its Beta posterior (default 1 1)")

    text = Parser(add_help=False, parents=[writing])
    text.add_argument("prompt")
    text.add_argument("--chat", action="store_true", help="the prompt is a request to reply to, instead of an opening to continue")
    return Shared(model, said, draws, writing, text)


def drafters() -> str:
    """The table of drafters, for --help."""
    rows = []
    for row in DRAFTERS.values():
        settings = "".join(f"[:{setting.name.upper()}]" for setting in row.settings)
        rows.append(f"{row.name}{settings}: {row.about}")
    return "; ".join(rows)


def load_engine(arguments, exit_layer: bool = True):
    """Model, heads and self-check, as the flags ask. A command with one drafter loads the trained heads that it may use, others all. torch
    is imported here, so that --help is instant."""
    check_dtype(arguments.dtype, arguments.quantize)
    if arguments.device != "cuda" and arguments.dtype != "bfloat16":
        compile_ahead(arguments.quantize)
    from ..heads.kinds import KINDS
    from ..loading import load_engine as load
    from ..model.parallel import is_first

    flags = arguments.model, arguments.exit_layer, arguments.device, arguments.dtype, arguments.quantize
    chosen = DRAFTERS[parse_drafter(arguments.drafter).name] if hasattr(arguments, "drafter") else None
    kinds = {chosen.needs_head, chosen.likes_head} - {""} if chosen else KINDS
    engine = load(*flags, need_exit_layer=exit_layer, heads=arguments.heads, kinds=kinds)
    if not is_first():  # with several processes for one model (torchrun), only the first prints and writes
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        arguments.trace = None
    for note in filter(None, (engine.target.note, engine.exit_layer and engine.exit_layer.note)):
        print(f"note: {printable(note)}", file=sys.stderr)
    return engine


def sampling_of(arguments):
    from ..sampling import Sampling

    a = arguments
    return Sampling(a.temperature, a.top_p, a.seed, a.top_k, a.min_p, a.acceptance or "shared-noise")


def request_of(arguments, method: str = "eesd"):
    from ..request import Request

    controller, settings = parse_controller(arguments.controller or "throughput", arguments.seed)
    if arguments.draft_length is not None:
        if arguments.controller not in (None, "fixed"):
            raise UserError("--draft-length is for --controller fixed: leave one of the two out (other controllers take limit=K)")
        controller, settings = "fixed", {"length": arguments.draft_length}
    if arguments.prior:
        settings |= {"alpha": arguments.prior[0], "beta": arguments.prior[1]}
    make_controller(controller, **settings)  # refuses bad settings now, not after loading
    sampling, drafter = sampling_of(arguments), parse_drafter(arguments.drafter)
    if arguments.rows is not None:
        drafter = Drafting(drafter.name, drafter.settings | {"rows": arguments.rows})
    a = arguments
    return Request(a.prompt, a.max_new_tokens, sampling, method, controller, settings, a.chat, drafter, a.system, stop=a.stop)


def controller_of(request) -> dict | None:
    return {"name": request.controller} | request.settings if request.method == "eesd" else None


def dtype_of(engine) -> str:
    return engine.target.precision
