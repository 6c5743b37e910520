"""The engines that visitors may choose: the host's model and known ones beside it, each with weights in several precisions.

An engine is loaded when it is first asked for, in the device's thread, and kept, since these models are small. A model that the host named
is not offered in other precisions, because a large one may not fit twice. Every run names its engine; there is no global switch.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from eesd_core.errors import UserError
from eesd_core.heads.kinds import kinds_in
from eesd_core.model.catalog import ASSETS, KNOWN, STORYTELLER
from eesd_core.model.precisions import CHOICES

from .arrival import Arrival

if TYPE_CHECKING:
    from eesd_core.engine import Engine

Load = Callable[[str], "Engine"]  # takes the precision


class Wanted(NamedTuple):
    model: str
    quantize: str


class Beside(NamedTuple):
    """A known model beside the host's. Its file may still be downloading."""

    load: Load
    arrival: Arrival


class Engines:
    def __init__(
        self, engine: "Engine | None", start: str = "none", load: Load | None = None, model: str = "",
        beside: Mapping[str, Beside] | None = None, choice: bool = True,
    ):  # fmt: skip
        """`engine` is the host's: `model` in the precision `start`. None: `load` loads it when it is first asked for. With `choice`, `load`
        loads it in other precisions too."""
        self.start, self.offered, self.model, self.beside = start, CHOICES if load and choice else (start,), model, dict(beside or {})
        self._load, self._engines = load, {Wanted(model, start): engine} if engine else {}

    @property
    def host(self) -> "Engine | None":
        """The host's engine, once it is loaded."""
        return self.loaded(Wanted(self.model, self.start))

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *self.beside)

    def replies(self, model: str) -> bool:
        """Whether a model is given requests to reply to, rather than openings to continue. The storyteller has a chat template, but is
        good at stories only."""
        return model in KNOWN or (model == self.model != STORYTELLER and self.host.target.codec.has_chat)

    def wanted(self, quantize: str | None = None, model: str | None = None) -> Wanted:
        """The engine that a visitor asked for; None is the host's choice. Raises UserError."""
        model = model or self.model
        if model not in self.models:
            raise UserError(f"this server has no model {str(model)[:40]!r}: choose one of {', '.join(self.models)}")
        if model != self.model:
            self.beside[model].arrival.check()
        elif quantize is not None and quantize not in self.offered:
            raise UserError(f"this server has its model in one precision (quantize={self.start}): leave the choice as it is")
        return Wanted(model, self.start if quantize is None else quantize)

    def engine(self, wanted: Wanted) -> "Engine":
        """The engine, loaded if need be. Call it in the device's thread only. Raises UserError if the weights cannot be loaded or
        quantised here."""
        if wanted not in self._engines:
            load = self._load if wanted.model == self.model else self.beside[wanted.model].load
            try:
                self._engines[wanted] = load(wanted.quantize)
            except UserError:
                raise
            except Exception as problem:  # bitsandbytes does not document what it raises
                logging.getLogger(__name__).exception("loading failed")
                why = " ".join(str(problem).split())[:120]
                raise UserError(f"{wanted.quantize} weights do not work on this machine ({why}): choose another precision") from None
        return self._engines[wanted]

    def loaded(self, wanted: Wanted) -> "Engine | None":
        return self._engines.get(wanted)

    def heads(self, model: str) -> list[str]:
        """Kinds of trained heads that this model has, beside its exit layer."""
        engine = self.loaded(Wanted(model, self.start))
        return list(engine.heads) if engine else kinds_in(ASSETS / "heads" / model if model == STORYTELLER else KNOWN[model].heads)

    def state(self) -> list[dict]:
        """For the page and for monitoring: the models, how far each download is, what is known of those that are loaded as the host chose,
        and the precision and level of exactness of every engine that is loaded, since each is tested by itself."""
        told = [{"model": self.model, "state": "ready" if self.host else "loading"}]
        told += [{"model": name, **beside.arrival.state()} for name, beside in self.beside.items()]
        for entry in told:
            loaded = {wanted.quantize: engine for wanted, engine in list(self._engines.items()) if wanted.model == entry["model"]}
            if engine := loaded.get(self.start):
                target = engine.target
                entry |= {"name": target.name, "dtype": target.precision, "device": str(target.device), "level": engine.level}
            entry["loaded"] = {name: {"dtype": engine.target.precision, "level": engine.level} for name, engine in loaded.items()}
        return told
