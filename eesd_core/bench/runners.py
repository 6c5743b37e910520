"""From a method's name to something that writes. What its runs share is made here, once."""

from dataclasses import replace

from ..control import Controller, make_controller, parse_controller
from ..costs import CostTracker
from ..draft.layer_skip import remaining
from ..draft.registry import DRAFTERS, Drafting, without_head
from ..draft.skip_set import SkipSet
from ..engine import Engine
from ..errors import UserError
from ..heads.frozen import FrozenExit
from ..heads.untrained import UntrainedExit
from ..sampling import Sampling
from . import peers
from .libraries import VERSIONS, Library
from .llama_cpp import LlamaCpp
from .methods import Method
from .prompts import Prompt
from .written import Written, write


class Runner:
    """One method on one engine. `drafter`, for the report: what really drafts, including a skip set that was searched for."""

    def __init__(self, engine: Engine, method: Method, skips: SkipSet | None = None):
        """Raises UserError where something that the method needs is missing."""
        self.method, self.engine, target = method, engine, engine.target
        self.drafter, depth = str(method.drafter), method.setting or (engine.exit_layer.exit_after if engine.exit_layer else 1)
        self.drafting, self.draft_layers, self.model = method.drafter, 0.0, target
        if method.peer.startswith("llama.cpp"):
            self.drafter, self.model = "", LlamaCpp(target, method.peer)
        elif method.peer.partition("+")[0] in VERSIONS:
            self.drafter, self.model = "", Library(target, method.peer, depth)
        elif method.peer:
            self.drafter = ""
            self.arguments = peers.arguments_of(method.peer, method.setting, depth)
            self.model = peers.stock(target) if method.peer == "hf-stock" else target
        elif not method.controller:
            self.drafter = "none"
        elif method.exit:
            kind = FrozenExit if method.exit == "frozen-exit" else UntrainedExit
            self.engine = Engine(target, kind(target, depth), engine.level)
            self.drafter, self.draft_layers = f"{method.exit}:{depth}", depth + (kind is UntrainedExit)
        elif DRAFTERS[method.drafter.name].needs_exit_layer:
            if engine.exit_layer is None:
                raise UserError("no exit layer is loaded: give --exit-layer a folder, or choose other methods")
            self.draft_layers = depth + (not isinstance(engine.exit_layer, FrozenExit))
        elif head := DRAFTERS[method.drafter.name].needs_head:
            if head not in engine.heads:
                raise without_head(head, target.name)
            self.draft_layers = round(engine.heads[head].cost * target.depth, 2)  # its weights, counted in layers
        elif method.drafter.name == "layer-skip":
            named = method.drafter.settings["skips"]
            chosen = SkipSet.parse(named) if named else skips or SkipSet.every_second(target.depth)
            self.drafting = Drafting("layer-skip", {"skips": str(chosen)})
            self.drafter = f"layer-skip:{chosen}"
            skipped = remaining(target, chosen.check(target.depth))
            self.draft_layers = len(skipped) - sum(i in (chosen.attention ^ chosen.mlp) for i in range(target.depth)) / 2
        self.chat = target.codec.has_chat
        self.costs: CostTracker | None = None

    def controller(self, seed: int) -> Controller | None:
        if not self.method.controller:
            return None
        name, settings = parse_controller(self.method.controller, seed)
        return make_controller(name, **settings)

    def ids(self, prompt: Prompt, new_tokens: int, sampling: Sampling) -> list[int]:
        """The prompt's token ids. Raises UserError if it does not fit."""
        return self.engine.encode(Method("vanilla").request(prompt.text, new_tokens, sampling, prompt.chat and self.chat))

    def write(self, prompt: Prompt, new_tokens: int, sampling: Sampling, controller: Controller | None) -> Written:
        if isinstance(self.model, LlamaCpp | Library):
            return self.model.write(self.ids(prompt, new_tokens, sampling), new_tokens, sampling)
        if self.method.peer:
            return peers.write(self.model, self.arguments, self.ids(prompt, new_tokens, sampling), new_tokens, sampling)
        request = self.method.request(prompt.text, new_tokens, sampling, prompt.chat and self.chat)
        request = replace(request, drafter=self.drafting)
        if self.costs is None:  # the costs of rounds are learned from prompt to prompt, as a server would learn them
            self.costs = self.engine.costs(self.engine.drafter(request, 1))
        return write(self.engine, request, controller, self.costs, self.draft_layers)


def make_runners(engine: Engine, methods: list[Method], skips: SkipSet | None) -> tuple[dict[str, Runner], dict[str, str]]:
    """Runners by name, and the reasons why the other methods cannot run here."""
    runners, missing = {}, {}
    for method in methods:
        try:
            runners[method.name] = Runner(engine, method, skips)
        except UserError as problem:
            missing[method.name] = str(problem)
    return runners, missing
