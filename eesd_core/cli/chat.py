"""`chat`: a conversation in the terminal, turn by turn."""

import json
import sys
from dataclasses import replace

from ..errors import UserError
from .flags import Shared, complain, load_engine, request_of
from .terminal import printable

OPENING = "Hello"  # stands for the first request while flags and model are checked
HELP = "Write a request; /reset begins anew, /quit or the end of the input ends."


def add_commands(commands, shared: Shared) -> None:
    parents = [shared.writing, shared.draws, shared.model, shared.said]
    chat = commands.add_parser("chat", parents=parents, help="a conversation in the terminal; a line of input is a request")
    chat.add_argument("--method", choices=["eesd", "vanilla"], default="eesd")
    chat.set_defaults(prompt=OPENING, chat=True, trace=None)


def chat(arguments) -> int:
    """Every reply is what a new run of the whole conversation would give: only the texts are kept from turn to turn."""
    base = request_of(arguments, arguments.method)
    engine = load_engine(arguments, arguments.method == "eesd")
    engine.encode(base)  # refuses a model without a chat template now, and a system prompt that is too long
    terminal = sys.stdin.isatty()
    if terminal:
        print(HELP, file=sys.stderr)
    turns: list[tuple[str, str]] = []
    while (line := _ask(terminal)) is not None and line != "/quit":
        if line == "/reset":
            turns = []
        elif line:
            try:
                turns.append((line, _reply(engine, replace(base, prompt=line, history=tuple(turns)))))
            except UserError as problem:  # about this turn, such as one that is too long: the conversation continues without it
                complain(f"{problem} (/reset begins a new conversation)")
    if arguments.json:
        print(json.dumps({"system": arguments.system, "turns": [{"user": request, "assistant": reply} for request, reply in turns]}))
    return 0


def _ask(terminal: bool) -> str | None:
    """A line without surrounding white space; None at the end of the input."""
    if terminal:
        sys.stderr.write("\n> ")
        sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() if line else None


def _reply(engine, request) -> str:
    """Print the reply as it is written, and return it."""
    from ..backends import backend

    text = ""
    for record in engine.run(request, backend=backend(engine, request)):
        if record.event.type == "tokens_committed":
            text += record.event.text
            sys.stdout.write(printable(record.event.text))
            sys.stdout.flush()
    sys.stdout.write("\n")
    return text


COMMANDS = {"chat": chat}
