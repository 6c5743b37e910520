"""A user's request: the prompt, the length of the text, and how tokens are drafted, sampled and accepted."""

from dataclasses import dataclass, field

from .draft.registry import DRAFTERS, Drafting, parse_drafter
from .draws import Sampling
from .errors import UserError
from .text.stop_strings import check_stops

METHODS = ("eesd", "vanilla")


@dataclass(frozen=True, slots=True)
class Request:
    """`settings`: the controller's. `drafter`: a `Drafting`, or its spelling on the command line, such as "prompt-lookup:2". Raises
    UserError for a request that no model could run."""

    prompt: str
    max_new_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    method: str = "eesd"
    controller: str = "beta"
    settings: dict = field(default_factory=dict)
    chat: bool = False  # True: reply to the prompt; False: continue it
    drafter: Drafting | str = "early-exit"
    system: str = ""  # a chat model's system prompt; "": the template's default
    history: tuple[tuple[str, str], ...] = ()  # earlier (request, reply) pairs of the conversation
    stop: tuple[str, ...] = ()  # stop strings: the text ends before the first that occurs

    def __post_init__(self):
        if not self.prompt.strip():
            raise UserError("the prompt is empty: write a few words, for example: Once upon a time")
        if type(self.max_new_tokens) is not int or self.max_new_tokens < 1:
            raise UserError(f"the number of new tokens must be a whole number of at least 1, not {self.max_new_tokens!r}")
        if self.method not in METHODS:
            raise UserError(f"unknown method {self.method!r}: choose {' or '.join(METHODS)}")
        if (self.system or self.history) and not self.chat:
            raise UserError("a system prompt and earlier turns are for chat: ask for chat too, or leave them out")
        object.__setattr__(self, "stop", check_stops(self.stop))
        if isinstance(self.drafter, str):
            object.__setattr__(self, "drafter", parse_drafter(self.drafter))

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in the form that chat templates take; the last message is the prompt."""
        told = [("system", self.system)] if self.system else []
        for request, reply in self.history:
            told += [("user", request), ("assistant", reply)]
        return [{"role": role, "content": text} for role, text in [*told, ("user", self.prompt)]]

    @property
    def needs_exit_layer(self) -> bool:
        return self.method == "eesd" and DRAFTERS[self.drafter.name].needs_exit_layer
