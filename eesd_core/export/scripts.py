"""Joins the ES modules in assets/web into one script, for the page, the offline file and the benchmark's report.

A page opened from a file cannot load modules (browsers refuse it), and one inline script can be allowed by its hash. So the modules are
written one after the other, each in a function of its own, in the order of their dependencies:

    modules["lib/player.js"] = (() => {
    const { Timeline } = modules["lib/timeline.js"];        // import { Timeline } from "./timeline.js";
    class Player { ... }                                    // export class Player { ... }
    return { Player };
    })();

A module may import names or everything (`* as name`) from a relative path, and may export const, function and class where it declares
them, each on a line of its own. Our modules need no more. Anything else is refused when they are joined, and so are circular imports,
names that are not exported and missing files.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from posixpath import dirname, join, normpath

WEB = Path(__file__).resolve().parents[2] / "assets" / "web"
GIVEN = "given.js"  # its constants are placeholders for values from Python

IMPORT = re.compile(r'^import (?:\{([^}]*)\}|\* as (\w+)) from "(\.[^"]*)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|class|function|async function) (\w+))", re.MULTILINE)
STRANGE = re.compile(r"^\s*(?:import\b(?!\.)|export\b).*|\bimport\s*\(.*", re.MULTILINE)


def join_modules(entry: str, given: dict | None = None, read: Callable[[str], str] | None = None) -> str:
    """The script of `entry`, a path in assets/web. On the page, `EESD` holds its exports, and `EESD.modules` every module by its path.

    `given` replaces constants of given.js with plain values. `read` returns the source of a path (tests have their own).
    Raises ValueError for what is not a module as described above.
    """
    joined: dict[str, str] = {}
    exported: dict[str, list[str]] = {}
    read = read or (lambda name: (WEB / name).read_text(encoding="utf-8"))

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"modules import each other in a circle: {' -> '.join([*above, name])}")
        if name in joined:
            return
        source = read(name)
        if name == GIVEN:
            source = with_values(source, given or {})
        for names, _, path in IMPORT.findall(source):
            needed = resolve(name, path)
            add(needed, (*above, name))
            check_names(name, needed, names, exported[needed])
        exported[name] = EXPORT.findall(source)
        joined[name] = wrapped(name, source, exported[name])

    add(entry, ())
    ending = f"globalThis.EESD = {{ ...modules[{json.dumps(entry)}], modules }};"
    return "\n".join(['(() => {\n"use strict";\nconst modules = {};', *joined.values(), ending, "})();"]) + "\n"


def resolve(module: str, path: str) -> str:
    return normpath(join(dirname(module), path))


def check_names(module: str, needed: str, names: str, exported: list[str]) -> None:
    for name in filter(None, (part.split(" as ")[0].strip() for part in names.split(","))):
        if name not in exported:
            raise ValueError(f"{module} imports {name} from {needed}, which does not export it")


def wrapped(name: str, source: str, exported: list[str]) -> str:
    def to_constant(found: re.Match) -> str:
        names, everything, path = found.groups()
        wanted = everything or "{ " + ", ".join(part.strip().replace(" as ", ": ") for part in names.split(",") if part.strip()) + " }"
        return f"const {wanted} = modules[{json.dumps(resolve(name, path))}];\n"

    body = lean(EXPORT.sub("", IMPORT.sub(to_constant, source)))
    if strange := STRANGE.search(body):
        raise ValueError(f"{name}: `{strange[0].strip()}` is no import or export that can be joined")
    return f"modules[{json.dumps(name)}] = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();"


def lean(source: str) -> str:
    """Drop comment lines and indentation, so that fewer bytes are sent. Text between backticks stays as it is."""
    kept, quoted = [], False
    for line in source.splitlines():
        bare = line.strip()
        if not quoted and (not bare or bare.startswith("//")):
            continue
        kept.append(line if quoted else bare)
        quoted ^= line.count("`") % 2 == 1
    return "\n".join(kept) + "\n"


def with_values(source: str, given: dict) -> str:
    """Put values in place of the module's constants. Raises ValueError for a value without a constant."""
    for name, value in given.items():
        constant = re.compile(rf"^export const {name} = .*;", re.MULTILINE)
        if not constant.search(source):
            raise ValueError(f"{GIVEN} has no constant {name}")
        text = json.dumps(value).replace("<", "\\u003c")  # so that no text can end the script
        source = constant.sub(lambda _: f"export const {name} = {text};", source)  # noqa: B023
    return source
