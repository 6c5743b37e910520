"""What a user asks for: the prompt, how long the text may be, and how it is drafted, drawn and accepted."""

from dataclasses import dataclass, field

from .draft.registry import DRAFTERS, Drafting, parse_drafter
from .errors import UserError
from .sampling import Sampling
from .text.stop_strings import check_stops

METHODS = ("eesd", "vanilla")


@dataclass(frozen=True, slots=True)
class Request:
    """`settings` are the controller's. `drafter` is a name of the registry with its settings, or the same spelled as on the command
    line, as in "prompt-lookup:2". Raises UserError for what cannot be run whatever the model is."""

    prompt: str
    max_new_tokens: int = 128
    sampling: Sampling = field(default_factory=Sampling)
    method: str = "eesd"
    controller: str = "beta"
    settings: dict = field(default_factory=dict)
    chat: bool = False  # the prompt is a request, to be replied to, instead of an opening to be continued
    drafter: Drafting | str = "early-exit"
    system: str = ""  # what a chat model is told in front of the conversation; "": what its template says
    history: tuple[tuple[str, str], ...] = ()  # a conversation's earlier requests and their replies
    stop: tuple[str, ...] = ()  # the text ends in front of the first of these that comes up

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
        """The conversation as chat templates read it; the last message is the prompt."""
        told = [("system", self.system)] if self.system else []
        for request, reply in self.history:
            told += [("user", request), ("assistant", reply)]
        return [{"role": role, "content": text} for role, text in [*told, ("user", self.prompt)]]

    @property
    def needs_exit_layer(self) -> bool:
        return self.method == "eesd" and DRAFTERS[self.drafter.name].needs_exit_layer
