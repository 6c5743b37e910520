"""What a visitor may ask for: form values in, a valid request out, one clear line if not. Enforced here, whatever a client sends."""

import re

from eesd_core.engine import Request
from eesd_core.errors import UserError
from eesd_core.sampling import Sampling

MOST_CHARACTERS = 4000
MOST_NEW_TOKENS = 512
MOST_SECONDS = 120.0  # on the device
CONTROLLERS = ("beta", "throughput", "fixed")


def request_from_form(prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length) -> Request:
    """Raises UserError."""
    if not isinstance(prompt, str):
        raise UserError("the prompt must be text")
    if len(prompt) > MOST_CHARACTERS:
        raise UserError(f"the prompt has {len(prompt):,} characters: shorten it to {MOST_CHARACTERS:,}")
    tokens = whole_number("new tokens", new_tokens, 1, MOST_NEW_TOKENS)
    number_seed = whole_number("seed", seed, 0, 2**53)
    sampling = Sampling(number("temperature", temperature, 0, 2), number("top-p", top_p, 0.01, 1), number_seed)
    if controller not in CONTROLLERS:
        raise UserError(f"the controller must be one of {', '.join(CONTROLLERS)}, not {shown(controller)}")
    if controller == "fixed":
        settings = {"length": whole_number("draft length", length, 0, 15)}
    else:
        settings = {"alpha": number("prior alpha", alpha, 0.01, 1000), "beta": number("prior beta", beta, 0.01, 1000), "seed": number_seed}
    return Request(prompt, tokens, sampling, "eesd", controller, settings)


def number(name: str, value, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # nan is in no range
        raise UserError(f"{name} must be a number from {low:g} to {high:g}, not {shown(value)}")
    return float(value)


def whole_number(name: str, value, low: int, high: int) -> int:
    """Also from text, since that is how a seed is typed: plain digits, no other spelling of a number."""
    digits = value.strip() if isinstance(value, str) else shown(value).removesuffix(".0")
    if not re.fullmatch("[+-]?[0-9]{1,16}", digits) or not low <= int(digits) <= high:
        raise UserError(f"{name} must be a whole number from {low} to {high}, not {shown(value)}")
    return int(digits)


def shown(value) -> str:
    """A value as an error message quotes it."""
    if value is None or value == "":
        return "empty"
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number far too large"
    return text if len(text) <= 40 else f"{text[:40]}..."
