"""What the process of a library does besides the library's own work: a line of JSON for every line of JSON, and a first one when it is
ready. The scripts beside it import it from their own folder, and nothing of this project."""

import json
import sys
from collections.abc import Callable


def serve(load: Callable[[dict], object], write: Callable[[object, dict, list[int], int], dict]) -> None:
    """`load` takes the job, `write` what that gave, the job, the prompt's ids and how many tokens; it gives the fields of Written."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever libraries print is no answer

    def say(what: dict) -> None:
        print(json.dumps(what), file=answers, flush=True)

    job = json.loads(sys.argv[1])
    try:
        model = load(job)
        say({"ready": True})
        for line in sys.stdin:
            asked = json.loads(line)
            say(write(model, job, asked["ids"], asked["new_tokens"]))
    except Exception as problem:  # there is no list of what a library raises on models that it was not written for
        say({"error": " ".join(f"{type(problem).__name__} {problem}".split())[:200]})
