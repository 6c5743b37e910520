"""The precisions of weights that can be asked for."""

from ..errors import UserError

OWN = ("q8", "q4")  # made by cpu/prepare.py
CHOICES = ("none", *OWN, "4bit", "8bit")  # the last two by bitsandbytes


def check_dtype(dtype: str, quantize: str) -> None:
    """Raises UserError for flags of which one would be ignored."""
    if dtype != "auto" and quantize != "none":
        raise UserError(f"--dtype is of unquantised weights: leave out --dtype {dtype} or --quantize {quantize}")
