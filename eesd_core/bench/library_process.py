"""What the process of a library does besides the library's own work: it sends a line of JSON when it is ready, and then one for every line
that it reads. The scripts next to it import it from their own folder, and nothing of this project."""

import json
import sys
from collections.abc import Callable


def serve(load: Callable[[dict], object], write: Callable[[object, dict, list[int], int], dict]) -> None:
    """`load` gets the job. `write` gets what `load` returned, the job, the prompt's ids and the number of new tokens; it returns the fields
    of Written."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers

    def say(what: dict) -> None:
        print(json.dumps(what), file=answers, flush=True)

    job = json.loads(sys.argv[1])
    try:
        model = load(job)
        say({"ready": True})
        for line in sys.stdin:
            asked = json.loads(line)
            say(write(model, job, asked["ids"], asked["new_tokens"]))
    except Exception as problem:  # libraries raise all kinds of exceptions on models that they were not written for
        say({"error": " ".join(f"{type(problem).__name__} {problem}".split())[:200]})
