"""Records the race that the methods panel shows until one is run: `python -m tools.record_methods`, on an otherwise idle machine.

It is the race that the panel itself would run with the form's own settings. An unrecorded short race goes first, because the first passes
of a process are slow. A header line says when and on which machine it was recorded.
"""

from app.form_values import request_from_form
from app.studies import RECORDED_METHODS, contestants
from eesd_core.engine import Engine
from eesd_core.loading import load_engine
from eesd_core.racing import race_methods
from eesd_core.recording import WARM_UP_TOKENS, write_recording

METHODS = ["throughput", "beta", "prompt-lookup", "feature"]
FORM = {"prompt": "Once upon a time there was a king who had a daughter so clever that", "new_tokens": 48}


def recorded(engine: Engine, form: dict) -> list:
    """Records of a race of METHODS, and its table."""
    for _ in race_methods(engine, contestants(request_from_form(**form | {"new_tokens": WARM_UP_TOKENS}), METHODS)):
        pass
    *records, table = race_methods(engine, contestants(request_from_form(**form), METHODS))
    return [*records, {"type": "table"} | table]


def main() -> None:
    engine = load_engine()
    *_, table = lines = recorded(engine, FORM)
    write_recording(RECORDED_METHODS, engine.target.device, lines)
    for row in table["rows"]:
        speed = f"{row['tokens_per_second']:.0f} tokens/s, {row['speedup']:.2f}x"
        print(f"{row['name']:>13}  {speed}, {row['tokens_per_round']:.2f} tokens per round")


if __name__ == "__main__":
    main()
