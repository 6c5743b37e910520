"""Strings that were written to break things: 500 of them, always the same."""

from random import Random

LETTERS = (
    [chr(code) for code in (*range(32), 127, 128, 133, 0xA0, 0xAD)]
    + ["\u200b", "\u200e", "\u200f", "\u202a", "\u202e", "\u2028", "\u2029", "\u2066", "\u2069", "\ufeff", "\ufffd", "\ufffe", "\uffff"]
    + ["\ud800", "\udbff", "\udc00", "\udfff", "\U0001f600", "\U0010ffff", "e\u0301", "\u0301" * 40, "א", "ب", "中", "ß", "İ"]
)  # fmt: skip
CODE = [
    "<img src=x onerror=window.__x=1>", "<script>window.__x=1</script>", "</script><script>window.__x=1</script>", "<!--<script>",
    "${window.__x=1}", "`${window.__x=1}`", "{{window.__x=1}}", "{{{window.__x=1}}}", "\\u003cimg src=x onerror=window.__x=1>",
    "javascript:window.__x=1", "<svg/onload=window.__x=1>", "<a href=javascript:window.__x=1>x</a>", "]]>", "'\"><b>", "&lt;img&gt;",
    "__proto__", "constructor", "toString", "%3Cscript%3E", "=1+1", "@SUM(A1)", "<br>",
    "\"},{\"type\":\"error\"}", "\\", "\"", "'", "\n", "\r\n",
    "%s%n", "../../etc/passwd", "\x1b[31m", "\x00", "<|endoftext|>", "</s>", "$1$&$`", "NaN", "1e999", "true", "null",
]  # fmt: skip


def hostile(count: int = 500, seed: int = 1) -> list[str]:
    random, made = Random(seed), [*CODE, *LETTERS, "", " ", "x" * 100_000, "\U0001f600" * 5_000, "\u202e" * 1_000]
    while len(made) < count:
        parts = [random.choice((random.choice(CODE), random.choice(LETTERS), "word ")) for _ in range(random.randint(2, 8))]
        made.append("".join(parts))
    return made[:count]
