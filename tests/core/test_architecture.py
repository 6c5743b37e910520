"""Who may import whom, read from the source. A newcomer can rely on it: what lies below knows nothing of what lies above."""

import ast
from functools import cache
from pathlib import Path

import pytest

import eesd_core

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "eesd_core"


def name_of(path: Path) -> str:
    """`eesd_core/draft/base.py` -> draft.base; a package by its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def statements(tree: ast.AST, everywhere: bool):
    """Imports at a module's head, or all of them; not those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, everywhere)


@cache
def imports(module: str, everywhere: bool = True) -> frozenset[str]:
    """Modules of the library that this one imports, without itself and the packages it lies in."""
    path, found = MODULES[module], set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    package = [part for part in package if part]
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), everywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("eesd_core.") for alias in node.names if alias.name.startswith("eesd_core.")}
            continue
        if node.level == 0:
            if (node.module or "").split(".")[0] != "eesd_core":
                continue
            base = node.module.split(".")[1:]
        else:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
        for alias in node.names:
            inner = ".".join([*base, alias.name])
            found.add(inner if inner in MODULES else ".".join(base))
    around = {".".join(module.split(".")[:n]) for n in range(len(module.split(".")) + 1)}
    return frozenset(found - around - {""})


def below(package: str) -> list[str]:
    return [name for name in MODULES if name == package or name.startswith(package + ".")]


@pytest.mark.parametrize("package", ["model", "heads"])
def test_models_and_heads_know_nothing_of_drafting(package):
    above = {"control", "draft", "engine", "run", "request", "racing"}
    wrong = {(name, other) for name in below(package) for other in imports(name) if other.split(".")[0] in above}
    assert not wrong


def test_models_know_no_heads():
    assert not {(name, other) for name in below("model") for other in imports(name) if other.split(".")[0] == "heads"}


def test_controllers_see_no_drafters_and_drafters_no_engine():
    wrong = {(name, other) for name in below("control") for other in imports(name) if other.split(".")[0] in ("draft", "engine", "run")}
    wrong |= {(name, other) for name in below("draft") for other in imports(name) if other.split(".")[0] in ("engine", "run", "request")}
    assert not wrong


def test_there_is_no_circle():
    """Of imports at the heads of modules."""
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in imports(module, everywhere=False):
                if other in MODULES:
                    walk(other, (*way, module))
            done.add(module)

    for module in MODULES:
        walk(module, ())


def test_the_library_knows_neither_the_app_nor_gradio():
    for path in MODULES.values():
        for node in statements(ast.parse(path.read_text(encoding="utf-8")), True):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if not node.level else []
            assert not {name.split(".")[0] for name in names} & {"app", "gradio", "tools", "tests"}, path


def test_no_module_bears_the_name_of_a_public_function():
    """`from eesd_core import race` gave the module, once it was loaded."""
    assert not set(eesd_core.__all__) & {name.split(".")[0] for name in MODULES}
    for package in (path.parent for path in PACKAGE.rglob("__init__.py")):
        source = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
        froms = [node for node in statements(source, False) if isinstance(node, ast.ImportFrom) and node.module]
        brought = {alias.asname or alias.name for node in froms for alias in node.names}
        functions = {node.name for node in source.body if isinstance(node, ast.FunctionDef)}
        assert not (brought | functions) & {path.stem for path in package.glob("*.py")}, package


def test_drafters_are_only_imported_when_they_are_made():
    """`--help` and a wrong flag must not wait for torch."""
    assert not {name for name in imports("draft.registry") if name.startswith("draft.") and name not in ("draft.skip_set",)}


def test_lines_of_the_page_are_read_without_scrolling():
    long = {}
    for path in (ROOT / "assets" / "web").rglob("*"):
        if path.suffix in (".js", ".css"):
            long |= {f"{path.name}:{i}": len(line) for i, line in enumerate(path.read_text("utf-8").splitlines(), 1) if len(line) > 160}
    assert not long
