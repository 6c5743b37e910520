"""The engines that visitors may choose: the host's model, known ones beside it, each with weights of several precisions.

One is loaded when first asked for, in the device's own thread, and kept: these models are small. A model of the host's own is not offered
in other precisions, because a large one may not fit twice. Which engine a run has stands in its request; nothing is switched.
"""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.heads.kinds import kinds_in
from eesd_core.model.catalog import KNOWN, STORYTELLER
from eesd_core.model.quantize import CHOICES

from .arrival import Arrival

Load = Callable[[str], Engine]  # takes the precision


class Wanted(NamedTuple):
    model: str
    quantize: str


class Beside(NamedTuple):
    """A known model beside the host's. Its file may still be on its way."""

    load: Load
    arrival: Arrival


class Engines:
    def __init__(
        self, engine: Engine, start: str = "none", load: Load | None = None, model: str = "", beside: Mapping[str, Beside] | None = None
    ):
        """`engine` is the host's, of `model`, with the precision `start`. `load` gives it in another one; without it there is no choice."""
        self.start, self.offered, self.model, self.beside = start, CHOICES if load else (start,), model, dict(beside or {})
        self._host, self._load, self._engines = engine, load, {Wanted(model, start): engine}

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *self.beside)

    def replies(self, model: str) -> bool:
        """Whether a model is given requests to reply to, rather than openings to continue. The storyteller knows how turns are written,
        but telling stories is what it can."""
        return model in KNOWN or (model == self.model != STORYTELLER and self._host.target.codec.has_chat)

    def wanted(self, quantize: str | None = None, model: str | None = None) -> Wanted:
        """What a visitor asked for; None is the host's choice. Raises UserError."""
        model = model or self.model
        if model not in self.models:
            raise UserError(f"this server has no model {str(model)[:40]!r}: choose one of {', '.join(self.models)}")
        if model != self.model:
            self.beside[model].arrival.check()
        elif quantize is not None and quantize not in self.offered:
            raise UserError(f"this server has its model in one precision (quantize={self.start}): leave the choice as it is")
        return Wanted(model, self.start if quantize is None else quantize)

    def engine(self, wanted: Wanted) -> Engine:
        """In the device's thread alone. Raises UserError where the weights cannot be loaded or quantised here."""
        if wanted not in self._engines:
            load = self._load if wanted.model == self.model else self.beside[wanted.model].load
            try:
                self._engines[wanted] = load(wanted.quantize)
            except UserError:
                raise
            except Exception as problem:  # bitsandbytes has no list of what it raises
                logging.getLogger(__name__).exception("loading failed")
                why = " ".join(str(problem).split())[:120]
                raise UserError(f"{wanted.quantize} weights do not work on this machine ({why}): choose another precision") from None
        return self._engines[wanted]

    def loaded(self, wanted: Wanted) -> Engine | None:
        return self._engines.get(wanted)

    def heads(self, model: str) -> list[str]:
        """Kinds of trained heads that a model of this server drafts with, beside its exit layer."""
        engine = self.loaded(Wanted(model, self.start))
        return list(engine.heads) if engine else kinds_in(KNOWN[model].heads)

    def state(self) -> list[dict]:
        """For the page: which models there are, which are loaded, which are on their way and how far."""
        told = [{"model": self.model, "state": "ready"}]
        told += [{"model": name, **beside.arrival.state()} for name, beside in self.beside.items()]
        for entry in told:
            if engine := self.loaded(Wanted(entry["model"], self.start)):
                target = engine.target
                entry |= {"name": target.name, "dtype": target.precision, "device": str(target.device), "level": engine.level}
        return told
