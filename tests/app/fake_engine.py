"""An engine without a model: both lanes write "a b c ...", as slowly as a test wants."""

import threading
from types import SimpleNamespace

import torch

from eesd_core import events as ev
from eesd_core.errors import UserError
from eesd_core.model.catalog import Source


class FakeEngine:
    level, heads, measured = "exact-by-construction", {}, None
    source = Source("fake", "fake", "models/fake.gguf")
    codec = SimpleNamespace(has_chat=False)
    target = SimpleNamespace(name="fake", device=torch.device("cpu"), precision="float32", source=source, codec=codec)

    def __init__(self, tokens: int = 5):
        self.tokens = tokens
        self.prompts: list[str] = []  # of the runs, in the order they had the device
        self.drafters: list[str] = []  # of the runs of EESD's lane
        self.go = threading.Event()  # cleared: a run waits after its first token, as long as it is not cancelled
        self.go.set()
        self.fail: Exception | None = None

    def encode(self, request) -> list[int]:
        if "too long" in request.prompt:
            raise UserError("the prompt is <too> long")
        return [1]

    def run(self, request, lane, run, cancelled, begun=bool, backend="host", candidates=None):
        if self.fail:
            raise self.fail
        events = self._events(request, lane, cancelled)
        return (ev.Record(run, lane, seq, 0.01 * seq, event) for seq, event in enumerate(events))

    def _events(self, request, lane, cancelled):
        if lane == "vanilla":
            self.prompts.append(request.prompt)
        else:
            self.drafters.append(str(request.drafter))
        yield ev.RunStarted(lane, "fake", "cpu", "float32", self.level, request.prompt, (1,), {}, {})
        for i in range(self.tokens):
            while i and not self.go.wait(0.005) and not cancelled():
                pass
            if cancelled():
                yield ev.RunCancelled(i)
                return
            yield ev.RoundStarted(i, i + 1, 0, {})
            yield ev.RoundVerified(i, 0, 0, (i,), (), (1.0,), i, f" {i}", 0.5, "bonus", 0.0, 0.001)
            yield ev.TokensCommitted(i, (i,), f" {i}")
        yield ev.RunFinished("length", self.tokens)
