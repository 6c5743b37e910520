"""EESD Live: `python app.py` shows the demo on the best model that is on this machine. Spaces run this file, with flags in the variable
EESD_FLAGS."""

import argparse
import gc
import os
import shlex
import socket
import sys
from contextlib import suppress
from functools import partial
from importlib.util import find_spec

from app import ZERO_GPU
from app.arrival import Arrival
from eesd_core.cli.flags import MODELS
from eesd_core.errors import UserError
from eesd_core.model.catalog import BEST, KNOWN, STORYTELLER, bring, in_cache, locate
from eesd_core.model.cpu.ahead import beside_this, compile_ahead, step_aside
from eesd_core.model.fetch import Progress, offline
from eesd_core.model.precisions import CHOICES, check_dtype

LOCAL = "127.0.0.1"
MOST_TOGETHER = 8  # visitors
PRIVATE = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"  # networks


def flags_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", metavar="MODEL", help=f"{MODELS} (default: {BEST} if its file is here, else storyteller)")
    parser.add_argument("--exit-layer", metavar="DIR", help="folder of its exit layer (default: the model's folder)")
    others = "folder of its other trained heads, a folder for each kind (default: those shipped, or in the model's folder)"
    parser.add_argument("--heads", metavar="DIR", help=others)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of unquantised weights")
    weights = "precision of the weights: q8 and q4 on a CPU, 8bit and 4bit by bitsandbytes (default: none)"
    parser.add_argument("--quantize", choices=CHOICES, default="none", help=weights)
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, metavar="PORT", help="default: the first free one from 7860 on")
    parser.add_argument("--runs-per-minute", type=int, default=30, metavar="N", help="most runs a minute from one address (default: 30)")
    each = "most runs of one address in line; raise it where a lecture hall shares one (default: 2)"
    parser.add_argument("--waiting-per-address", type=int, default=2, metavar="N", help=each)
    shared = f"up to N visitors share passes, 1 to {MOST_TOGETHER}; each clock then counts the passes of all (default: 1)"
    parser.add_argument("--together", type=int, default=1, metavar="N", help=shared)
    parser.add_argument("--ssr", action="store_true", help="render the page on the server too; needs Node 24")
    parser.add_argument("--mcp", action="store_true", help="offer the endpoints as MCP tools; needs hosting/requirements-mcp.txt")
    parser.add_argument("--openai", action="store_true", help="serve /v1/completions and /v1/chat/completions too")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    return parser.parse_args(arguments)


def check(flags: argparse.Namespace) -> None:
    """Whatever can be refused before the libraries are imported, which takes seconds. Raises UserError."""
    if flags.runs_per_minute < 1:
        raise UserError("--runs-per-minute must be at least 1")
    if flags.waiting_per_address < 1:
        raise UserError("--waiting-per-address must be at least 1")
    if not 1 <= flags.together <= MOST_TOGETHER:
        raise UserError(f"--together must be from 1 to {MOST_TOGETHER}")
    if ZERO_GPU and flags.together > 1:
        raise UserError("a GPU that is lent has one visitor at a time: leave out --together")
    if ZERO_GPU and flags.openai:
        raise UserError("a GPU that is lent run by run serves no completions: leave out --openai")
    check_dtype(flags.dtype, flags.quantize)
    check_address(flags.host, flags.port)
    if flags.mcp and not find_spec("mcp"):
        raise UserError("MCP tools need one more package: pip install -r hosting/requirements-mcp.txt")


def check_address(host: str | None, port: int | None) -> None:
    """Gradio needs the port on 127.0.0.1 too. Raises UserError."""
    try:
        for name in {host or LOCAL, LOCAL}:
            family, *_, address = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0]
            socket.create_server((address[0], port or 0), family=family).close()
    except (OSError, OverflowError) as problem:
        place = f"{host or 'this machine'}{'' if port is None else f', port {port}'}"
        raise UserError(f"the server cannot listen on {place} ({problem}): choose another --host or --port") from None


def available() -> list[str]:
    """Models that are on this machine or may be fetched, the storyteller last."""
    names = [name for name, known in KNOWN.items() if not (known.lora and not known.lora.exists())]
    return [*(name for name in names if in_cache(name) or not offline()), STORYTELLER]


def best_here() -> str:
    """The model that the page opens on unless the host names one."""
    return BEST if BEST in available() and in_cache(BEST) else STORYTELLER


def fetched(name: str, progress: Progress) -> None:
    """Fetch and convert a known model. Converting computes for seconds, so another process does it, and not this one beside a race."""
    if not in_cache(name):
        bring(name, progress)
        with suppress(OSError):
            step_aside(converting := beside_this("eesd_core", "fetch", name))
            converting.wait()
    locate(name, progress)  # converts what is left to convert, and says what is wrong


def arrivals_of(names: list[str], host: str) -> dict[str, Arrival]:
    """How the files of these models come, by model. Models of one file share its arrival; the embedded model and the host's are here."""
    files = {name: known.file for name, known in KNOWN.items()}
    found: dict[str, Arrival] = {}
    for name in names:
        file = files.get(name)
        same = (arrival for other, arrival in found.items() if files.get(other) == file)
        here = file is None or file == files.get(host)
        found[name] = next(same, None) or Arrival(name, None if here else partial(fetched, name))
    return found


def known_ahead(flags: argparse.Namespace, model: str) -> bool:
    """Whether the page can be made before the model is loaded: it is known and here, with the heads that are shipped."""
    return not (ZERO_GPU or flags.exit_layer or flags.heads) and (model == STORYTELLER or (model in KNOWN and in_cache(model)))


def visits_of(flags: argparse.Namespace, model: str, arrivals: dict[str, Arrival]):
    """The visits of a server of `model`; it is loaded later, except on a GPU that is lent. Raises UserError."""
    from app.engines import Beside, Engines
    from app.form_values import Limits
    from app.runs import Visits

    limits = Limits(runs_a_minute=flags.runs_per_minute, waiting_each=flags.waiting_per_address, together=flags.together)
    if ZERO_GPU:
        from app.zero_gpu import lent_visits
        from eesd_core.loading import load_engine

        own = model, flags.exit_layer
        return lent_visits(lambda device: load_engine(*own, device, flags.dtype, flags.quantize, heads=flags.heads), limits, model)

    def loader(model: str, exit_layer: str | None = None, heads: str | None = None):
        def load(quantize: str):
            from app import contest  # noqa: F401  so that the first run need not import it
            from eesd_core.loading import load_engine

            return load_engine(model, exit_layer, flags.device, flags.dtype, quantize, heads=heads)

        return load

    beside = {name: Beside(loader(name), arrival) for name, arrival in arrivals.items()}
    choice = flags.model is None  # the host's own model may be too large to load twice
    return Visits(Engines(None, flags.quantize, loader(model, flags.exit_layer, flags.heads), model, beside, choice), limits)


def serve(flags: argparse.Namespace) -> None:
    """Serve the page, at once if it can be made without the model, and load the model meanwhile. Raises UserError."""
    gc.disable()  # looking for garbage takes a sixth of the time that imports take, and they leave none
    if flags.device != "cuda" and flags.dtype != "bfloat16":
        compile_ahead(flags.quantize)
    from app.page import launch  # behind the flags, because it imports gradio

    model = flags.model or best_here()
    arrivals = arrivals_of([name for name in available() if name != model] if flags.model is None else [], model)
    visits = visits_of(flags, model, arrivals)
    if not visits.engine and not known_ahead(flags, model):
        visits.make_ready()
    options = {"ssr_mode": flags.ssr, "mcp_server": flags.mcp, "prevent_thread_lock": True}
    page = launch(visits, flags.host, flags.port or None, flags.openai, **options)
    try:
        if not visits.engine:
            visits.make_ready()
        gc.freeze()  # a look at all that was imported and loaded takes half a second, in the middle of somebody's run
        gc.enable()
        for arrival in dict.fromkeys(arrivals.values()):  # not before: what else runs would have been in the engine's measured costs
            arrival.begin()
        page.block_thread()
    finally:
        page.close()


def main() -> int:
    if "SPACE_ID" in os.environ:  # trust the Hub's proxies, whose addresses are private: the run limit needs each visitor's own address
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PRIVATE)
    flags = flags_of([*shlex.split(os.environ.get("EESD_FLAGS", "")), *sys.argv[1:]])
    if flags.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        check(flags)
        serve(flags)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while the model is loaded; later Gradio takes it
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
