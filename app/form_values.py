"""Turns form values into a valid request, or refuses them in one clear line. Limits are enforced here, whatever a client sends."""

import json
import re
from dataclasses import dataclass
from inspect import signature

from eesd_core.control import CONTROLLERS, make_controller
from eesd_core.control.base import Seeded
from eesd_core.draft.registry import DRAFTERS, Drafting
from eesd_core.draws import Sampling
from eesd_core.errors import UserError
from eesd_core.request import Request

from .form import (
    CONTROLLER,
    DRAFTER,
    DRAFTER_SETTINGS,
    FIELDS,
    KNOBS,
    MOST_CHARACTERS,
    MOST_HISTORY,
    MOST_SYSTEM,
    NAMES,
    QUANTIZE,
    SAMPLING,
    WRONG,
    WRONG_FROM,
    Field,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a public server, for one visitor and for all together."""

    seconds: float = 120.0  # of device time for one run
    waiting: int = 64  # runs in line
    runs_a_minute: int = 30  # from one address, which a lecture hall may share
    waiting_each: int = 2  # runs of one address in line, the running one included
    seconds_a_minute: float = 45.0  # of device time for one address, while others wait
    rooms_a_minute: int = 6  # opened by one address
    together: int = 1  # races that may share passes


def request_from_form(*form, **named) -> Request:
    """A request from values in the order of the form, or by name; missing ones take their defaults. Raises UserError."""
    values = values_of(*form, **named)
    prompt = values["prompt"]
    if not isinstance(prompt, str):
        raise UserError("the prompt must be text")
    if len(prompt) > MOST_CHARACTERS:
        raise UserError(f"the prompt has {len(prompt):,} characters: shorten it to {MOST_CHARACTERS:,}")
    good = {field.name: checked(field, values[field.name]) for field in (*SAMPLING, CONTROLLER)}
    sampling = Sampling(*(good[name] for name in ("temperature", "top_p", "seed", "top_k", "min_p", "acceptance")))
    controller, settings = good["controller"], controller_settings(good["controller"], values, good["seed"])
    make_controller(controller, **settings)  # refuses settings that are out of range
    drafter, stops, chat = drafter_of(values, good["new_tokens"]), stops_of(values["stop"]), good["chat"]
    talk = (system_of(values["system"]), history_of(values["history"])) if chat else ()  # without chat the page hides these fields
    return Request(prompt, good["new_tokens"], sampling, "eesd", controller, settings, chat, drafter, *talk, stop=stops)


def values_of(*form, **named) -> dict:
    return {field.name: field.value for field in FIELDS} | dict(zip(NAMES, form)) | named


def quantize_from_form(*form, **named) -> str | None:
    """The precision asked for; None: as the host loaded the model. Raises UserError."""
    value = values_of(*form, **named)["quantize"]
    return None if value in (None, "") else checked(QUANTIZE, value)


def model_from_form(*form, **named) -> str | None:
    """The model asked for; None: the host's. Engines.wanted checks that it exists. Raises UserError."""
    value = values_of(*form, **named)["model"]
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise UserError(f"model must be a name, not {shown(value)}")
    return value


def drafter_of(values: dict, new_tokens: int) -> Drafting:
    """The chosen drafter with the settings that are filled in; early exit may be disturbed (eesd_core/draft/disturbed.py)."""
    name = checked(DRAFTER, values["drafter"])
    own = {setting.name for setting in DRAFTERS[name].settings}
    fields = [field for field in (*DRAFTER_SETTINGS, WRONG, WRONG_FROM) if values[field.name] not in (None, "")]
    given = {field.name: checked(field, values[field.name]) for field in fields}
    if name != "early-exit" or not given.get("wrong"):
        return Drafting(name, {setting: value for setting, value in given.items() if setting in own})
    return Drafting("disturbed", {"share": given["wrong"], "first": given.get("wrong_from", new_tokens // 2)})


def stops_of(value) -> tuple[str, ...]:
    """The stop string as it is, or nothing. Raises UserError."""
    if not isinstance(value, str | None):
        raise UserError(f"stop text must be text, not {shown(value)}")
    return (value,) if value else ()


def system_of(value) -> str:
    """The system prompt. Raises UserError."""
    if not isinstance(value, str | None):
        raise UserError(f"the system prompt must be text, not {shown(value)}")
    if len(value or "") > MOST_SYSTEM:
        raise UserError(f"the system prompt has {len(value):,} characters: shorten it to {MOST_SYSTEM:,}")
    return value or ""


def history_of(value) -> tuple[tuple[str, str], ...]:
    """Earlier turns, parsed from JSON. Raises UserError."""
    try:
        turns = json.loads(value) if value else []
        pairs = isinstance(turns, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in turns)
        good = pairs and all(isinstance(text, str) for turn in turns for text in turn)
    except (TypeError, ValueError, RecursionError):
        good = False
    if not good:
        raise UserError('the conversation must be earlier turns as JSON, such as [["request", "reply"]]')
    if (count := sum(len(text) for turn in turns for text in turn)) > MOST_HISTORY:
        raise UserError(f"the conversation has {count:,} characters, and {MOST_HISTORY:,} is the most: begin a new one with Reset")
    return tuple((request, reply) for request, reply in turns)


def controller_settings(controller: str, values: dict, seed: int) -> dict:
    """The settings that the controller has and the visitor filled in."""
    kind = CONTROLLERS[controller]
    own = [field for field in KNOBS if field.name in signature(kind).parameters]
    filled = {field.name: checked(field, values[field.name]) for field in own if values[field.name] not in (None, "")}
    return filled | ({"seed": seed} if issubclass(kind, Seeded) else {})


def checked(field: Field, value):
    """The value, if the field allows it. Raises UserError."""
    name = field.label.lower()
    if field.kind == "number":
        return number(name, value, field.low, field.high)
    if field.kind == "whole":
        return whole_number(name, value, int(field.low), int(field.high))
    allowed = (True, False) if field.kind == "flag" else field.choices
    if not any(value is one or (isinstance(value, str) and value == one) for one in allowed):
        raise UserError(f"{name} must be one of {', '.join(map(str, allowed))}, not {shown(value)}")
    return value


def number(name: str, value, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # nan fails both comparisons
        raise UserError(f"{name} must be a number from {low:g} to {high:g}, not {shown(value)}")
    return float(value)


def whole_number(name: str, value, low: int, high: int) -> int:
    """A whole number. Text is accepted too, since a seed is typed as text: plain digits only."""
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
    except ValueError:  # Python refuses to print an integer this long
        return "a number far too large"
    return text if len(text) <= 40 else f"{text[:40]}..."
