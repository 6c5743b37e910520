"""The embedded model as the host loaded it, and, for whoever wants to see what quantisation does, with weights of other precisions.

One is loaded when first asked for, in the device's own thread, and kept: the model is small. A model of the host's own is not offered a
second time, because that could take more memory than there is. Which one a run has stands in its request; nothing is switched.
"""

import logging
from collections.abc import Callable

from eesd_core.engine import Engine
from eesd_core.errors import UserError
from eesd_core.model.quantize import CHOICES


class Precisions:
    def __init__(self, engine: Engine, start: str = "none", load: Callable[[str], Engine] | None = None):
        """`start` is what `engine` has; `load` gives another one. Without it there is no choice."""
        self.start, self.offered = start, CHOICES if load else (start,)
        self._load, self._engines = load, {start: engine}

    def wanted(self, quantize: str | None) -> str:
        """What a visitor asked for; None is the host's choice. Raises UserError."""
        if quantize is None:
            return self.start
        if quantize not in self.offered:
            raise UserError(f"this server has its model in one precision (quantize={self.start}): leave the choice as it is")
        return quantize

    def engine(self, quantize: str) -> Engine:
        """In the device's thread alone. Raises UserError where the weights cannot be quantised here."""
        if quantize not in self._engines:
            try:
                self._engines[quantize] = self._load(quantize)
            except UserError:
                raise
            except Exception as problem:  # bitsandbytes has no list of what it raises
                logging.getLogger(__name__).exception("quantising failed")
                why = " ".join(str(problem).split())[:120]
                raise UserError(f"{quantize} weights do not work on this machine ({why}): choose another precision") from None
        return self._engines[quantize]
