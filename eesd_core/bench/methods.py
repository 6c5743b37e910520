"""What is compared, by name.

vanilla                          this engine without drafts
throughput, fixed:4, beta:0.95   EESD with a controller, spelled as --controller
layer-skip+beta                  another drafter with a controller; a drafter alone takes its usual controller (draft/registry.py)
throughput@rejection             an acceptance rule of its own, where the temperature is above 0
frozen-exit, untrained-exit      EESD without a trained exit layer: the model's own norm and head at the exit depth, or an untrained
                                 copy of its last layer there; frozen-exit:4 exits after 4 layers
hf, hf-stock, hf-static, hf-early-exit, hf-prompt-lookup    transformers' generate() (peers.py)
llama.cpp, llama.cpp+ngram       llama.cpp on the same GGUF file, without drafts and with its own (llama_cpp.py)
economize+lookup, dejavuu+suffix ...    two libraries on the same checkpoint (libraries.py); economize+early-exit:4 exits after 4 layers
"""

from dataclasses import dataclass, replace

from ..control import CONTROLLERS, parse_controller
from ..draft.registry import DRAFTERS, Drafting, parse_drafter
from ..draws import Sampling
from ..errors import UserError
from ..request import Request

EXITS = {"frozen-exit": ", frozen norm and head", "untrained-exit": ", untrained exit layer"}
SET = ("hf-early-exit", "hf-prompt-lookup", "economize+early-exit")  # peers with a setting
PEERS = {
    "hf": "transformers generate(), growing cache",
    "hf-stock": "transformers generate() on the model as from_pretrained loads it",
    "hf-static": "transformers generate(), static cache",
    "hf-early-exit": "transformers generate(assistant_early_exit)",
    "hf-prompt-lookup": "transformers generate(prompt_lookup_num_tokens)",
    "llama.cpp": "llama.cpp on the same file",
    "llama.cpp+ngram": "llama.cpp on the same file, drafts by n-grams of the text",
    "economize+early-exit": "economize 0.3.2, drafts by the model's own norm and head after its first layers",
    "economize+layer-skip": "economize 0.3.2, drafts by the model without evenly spread layers",
    "economize+lookup": "economize 0.3.2, drafts by n-grams of the text",
    "dejavuu+token-recycling": "dejavuu 0.2.0, drafts by what was likely behind a token before, in trees",
    "dejavuu+suffix": "dejavuu 0.2.0, drafts by suffixes of the text, in trees",
}
PLAIN = ("vanilla", "hf", "hf-stock", "hf-static")  # methods without drafts: the fastest of them is the strongest baseline
EARLY_EXIT = Drafting("early-exit")


@dataclass(frozen=True, slots=True)
class Method:
    name: str
    peer: str = ""  # one of PEERS
    setting: int | None = None  # a peer's, or the exit depth
    exit: str = ""  # one of EXITS instead of the trained exit layer
    drafter: Drafting = EARLY_EXIT
    controller: str = ""  # with its settings; "" for vanilla
    acceptance: str = ""  # "": the rule of the run

    @property
    def describes(self) -> str:
        if self.peer:
            return PEERS[self.peer]
        if not self.controller:
            return "this engine without drafts"
        drafter = "EESD" if self.drafter == EARLY_EXIT else self.drafter.name
        return f"{drafter}{EXITS.get(self.exit, '')}, controller {self.controller}"

    def request(self, prompt: str, new_tokens: int, sampling: Sampling, chat: bool = False) -> Request:
        """A request to this engine (not for peers)."""
        if self.acceptance:
            sampling = replace(sampling, acceptance=self.acceptance)
        if not self.controller:
            return Request(prompt, new_tokens, sampling, "vanilla", chat=chat)
        controller, settings = parse_controller(self.controller, sampling.seed)
        return Request(prompt, new_tokens, sampling, "eesd", controller, settings, chat, self.drafter)


def parse_method(name: str) -> Method:
    """A method by its name. Raises UserError."""
    text, _, acceptance = name.partition("@")
    if acceptance not in ("", "shared-noise", "rejection"):
        raise UserError(f"unknown acceptance rule {acceptance!r} in {name!r}: write shared-noise or rejection behind the @")
    if text == "vanilla":
        return Method(name, acceptance=acceptance)
    kind, _, setting = text.partition(":")
    if kind in PEERS:
        if acceptance:
            raise UserError(f"{kind} has an acceptance rule of its own: leave out @{acceptance}")
        if setting and kind not in SET:
            raise UserError(f"{kind} has no setting: leave out :{setting[:20]}")
        return Method(name, peer=kind, setting=_number(name, setting))
    drafter, plus, controller = text.partition("+")
    kind, _, setting = drafter.partition(":")
    if kind not in EXITS and kind not in DRAFTERS:  # a controller alone
        drafter, kind, setting, controller = "early-exit", "early-exit", "", text
    elif not plus:
        controller = DRAFTERS.get(kind, DRAFTERS["early-exit"]).usual_controller
    if controller.partition(":")[0] not in CONTROLLERS:
        known = f"vanilla, {', '.join(CONTROLLERS)}, {', '.join([*list(DRAFTERS)[1:], *EXITS])}, {', '.join(PEERS)}"
        raise UserError(f"unknown method {name[:60]!r}: use {known}, with settings as in fixed:4 or layer-skip+beta")
    parse_controller(controller)
    if kind in EXITS:
        return Method(name, setting=_number(name, setting), exit=kind, controller=controller, acceptance=acceptance)
    return Method(name, drafter=parse_drafter(drafter), controller=controller, acceptance=acceptance)


def _number(name: str, setting: str) -> int | None:
    if setting and not (setting.isdecimal() and 0 < len(setting) < 4 and int(setting)):
        raise UserError(f"the setting in {name[:60]!r} must be a whole number of at least 1")
    return int(setting) if setting else None


def own_request(method: str, prompt: str, new_tokens: int, sampling: Sampling) -> Request:
    """A request for one of this engine's own methods. Raises UserError for any other."""
    parsed = parse_method(method)
    if parsed.peer or parsed.exit:
        raise UserError(f"{method} cannot be run here: use vanilla or one of this engine's controllers")
    return parsed.request(prompt, new_tokens, sampling)
