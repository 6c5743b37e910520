"""The command line. Every failure that a user can fix is one line on stderr and exit status 2."""

import os
import sys
from errno import EDQUOT, EFBIG, ENOSPC

from ..errors import UserError
from . import chat, measurements, models, runs, servers, together, training
from .flags import Parser, complain, shared_flags

GROUPS = (runs, chat, together, measurements, models, training, servers)
FULL = (ENOSPC, EDQUOT, EFBIG)  # of the disk, of a user's share of it, of a file: a write that fails so does not name its file
COMMANDS = {name: command for group in GROUPS for name, command in group.COMMANDS.items()}


def build_parser() -> Parser:
    parser = Parser(prog="python -m eesd_core", description="Early-exiting speculative decoding, lossless and observable.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    shared = shared_flags()
    for group in GROUPS:
        group.add_commands(commands, shared)
    return parser


def main(argv: list[str] | None = None) -> int:
    if sys.stdout is None:  # closed by the caller, as with `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    arguments = build_parser().parse_args(argv)
    if getattr(arguments, "offline", False):
        os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when it is imported
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # text in any language must print on any terminal
    try:
        return COMMANDS[arguments.command](arguments)
    except UserError as problem:
        complain(str(problem))
        return 2
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered must not go to the pipe
        return 0
    except OSError as problem:
        if problem.filename is None and problem.errno not in FULL:  # nothing about a user's files
            raise
        complain(f"{problem if problem.filename else problem.strerror}: choose another path, or make room")
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
