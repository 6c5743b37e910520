"""Published figures that are known first-hand, from the papers' own abstracts. They are never mixed with measured ones.

None: not stated where we read it. Authors' figures mostly shrink by a third or more when others measure them.
"""

_NAMES = ("method", "speedup", "model", "hardware", "source")
_ROWS = (
    ("EESD", "2.04x", "LLaMA-2-13B", None, "arXiv 2406.03853"),
    ("EESD", "2.29x", "LLaMA-2-70B", None, "arXiv 2406.03853"),
    ("Self-SD (Draft & Verify)", "up to 1.99x", "LLaMA-2 and its variants", None, "arXiv 2309.08168"),
    ("SWIFT", "1.3x to 1.6x", "several, see the paper", None, "arXiv 2410.06916"),
)
PUBLISHED = tuple(dict(zip(_NAMES, row)) for row in _ROWS)
