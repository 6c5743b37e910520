"""What a visitor may ask for: form values in, a valid request out, one clear line if not. Enforced here, whatever a client sends."""

from eesd_core.engine import Request
from eesd_core.errors import UserError
from eesd_core.sampling import Sampling

MOST_CHARACTERS = 4000
MOST_NEW_TOKENS = 512
MOST_SECONDS = 120.0  # on the device


def request_from_form(prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length) -> Request:
    """Raises UserError."""
    if not isinstance(prompt, str):
        raise UserError("the prompt must be text")
    if len(prompt) > MOST_CHARACTERS:
        raise UserError(f"the prompt has {len(prompt):,} characters: shorten it to {MOST_CHARACTERS:,}")
    tokens = whole_number("new tokens", new_tokens, 1, MOST_NEW_TOKENS)
    number_seed = whole_number("seed", seed, 0, 2**53)
    sampling = Sampling(number("temperature", temperature, 0, 2), number("top-p", top_p, 0.01, 1), number_seed)
    if controller == "fixed":
        settings = {"length": whole_number("draft length", length, 0, 15)}
    else:
        settings = {"alpha": number("prior alpha", alpha, 0.01, 1000), "beta": number("prior beta", beta, 0.01, 1000), "seed": number_seed}
    return Request(prompt, tokens, sampling, "eesd", str(controller), settings)


def number(name: str, value, low: float, high: float) -> float:
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a number from {low:g} to {high:g}, not {shown(value)}") from None
    if not low <= result <= high:  # nan too
        raise UserError(f"{name} must be from {low:g} to {high:g}, not {shown(value)}")
    return result


def whole_number(name: str, value, low: int, high: int) -> int:
    problem = UserError(f"{name} must be a whole number from {low} to {high}, not {shown(value)}")
    try:
        text = str(value).strip()
        result = int(text) if text.lstrip("+-").isdigit() else int(value) if float(value) == int(float(value)) else None
    except (TypeError, ValueError, OverflowError):
        raise problem from None
    if result is None or not low <= result <= high:
        raise problem
    return result


def shown(value) -> str:
    return "empty" if value in (None, "") else f"{str(value)[:40]!r}"
