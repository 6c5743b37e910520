"""Records the race that the page opens on, on an otherwise idle machine: `python -m tools.record_opening`.

It is the race that Run starts if nothing is changed: the page's model (catalog.py), its first example, and the settings that its form has
then. The example is one that reads well and gains much (docs/notes.md). What is made of the recording follows it: the links of
docs/lecture.md, and README's moving picture.
"""

import re
import sys

from app.form_values import request_from_form
from app.page import OPENING
from app.studies import examples_of
from eesd_core.errors import UserError
from eesd_core.loading import load_engine
from eesd_core.model.catalog import BEST
from eesd_core.recording import record_race, write_recording
from eesd_core.rounds import Lane, Round, fold
from eesd_core.trace import open_trace

from .moving_picture import picture

DOCS = OPENING.parents[2] / "docs"
LECTURE, PICTURE = DOCS / "lecture.md", DOCS / "race.svg"
LINK = re.compile(r"round=\d+&at=[\d.]+")


def form() -> dict:
    """What the form holds when the page opens."""
    return {"prompt": examples_of(chat=True)[0]["prompt"], "chat": True}


def lessons(rounds: list[Round]) -> list[Round]:
    """The rounds at which the lecture stops, in its order: the first one of which no guess is right, the longest of which all are right,
    and the longest of the others of which none is. Raises UserError if the recording lacks one."""
    several = [round for round in rounds if round.drafted > 1]
    vain = [round for round in several if round.accepted == 0]
    right = [round for round in several if round.accepted == round.drafted and round.next]
    if len(vain) < 2 or not right:
        raise UserError("the recording lacks a round that the lecture shows: record another example or seed")
    return [vain[0], *(max(rounds, key=lambda round: round.drafted) for rounds in (right, vain[1:]))]


def linked(words: str, lane: Lane) -> str:
    """The lecture's text, with links to the rounds of this lane. A link stops the playhead at the end of its round."""
    links = iter(f"round={round.number + 1}&at={round.end + 5e-4:.3f}" for round in lessons(lane.rounds))
    return LINK.sub(lambda old: next(links), words)


def follow() -> None:
    """Make again what is made of the recording."""
    eesd, vanilla = (fold(open_trace(OPENING).records, name) for name in ("eesd", "vanilla"))
    LECTURE.write_text(linked(LECTURE.read_text(encoding="utf-8"), eesd), encoding="utf-8")
    PICTURE.write_text(picture(eesd, vanilla), encoding="utf-8")


def main() -> int:
    try:
        engine = load_engine(BEST)
        write_recording(OPENING, engine.target.device, record_race(engine, request_from_form(**form())))
        follow()
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    for lane in (fold(open_trace(OPENING).records, name) for name in ("eesd", "vanilla")):
        print(f"{lane.name:>8}  {lane.clock:.2f} s, {len(lane.token_ids) / lane.clock:.0f} tokens/s")
    print(lane.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
