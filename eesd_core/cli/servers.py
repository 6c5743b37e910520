"""Commands for other servers: `export-draft` makes a draft model for them, `import` reads what they report of a run."""

import json

from ..errors import UserError
from .flags import MODELS, Shared, check_writable, given, path
from .terminal import printable


def add_commands(commands, shared: Shared) -> None:
    about = "an exit layer as a model of its own, which vLLM, llama.cpp and transformers take as draft model"
    draft = commands.add_parser("export-draft", parents=[shared.said], help=about)
    draft.add_argument("--model", type=given, metavar="MODEL", help=MODELS)
    where = "folder or Hub id[@revision] of an exit layer without taps (default: the model's); frozen:N for its own head after N layers"
    draft.add_argument("--exit-layer", type=given, metavar="DIR_OR_ID", help=where)
    which = "of the exit layer: where tokens are drawn (default), or of its twin where decoding is greedy"
    draft.add_argument("--weights", choices=["sampled", "greedy"], default="sampled", help=which)
    draft.add_argument("--out", type=path, required=True, metavar="DIR")
    types = "also as a GGUF file with weights of this type: F32, F16, BF16, Q8_0 or Q4_1 (plain Llama models)"
    draft.add_argument("--gguf", choices=["F32", "F16", "BF16", "Q8_0", "Q4_1"], metavar="TYPE", help=types)
    draft.add_argument("--offline", action="store_true", help="never use the network")

    about = "what vLLM or llama.cpp said of requests (their responses, as JSON) as a trace, which replay, export and the page open"
    foreign = commands.add_parser("import", parents=[shared.said], help=about)
    foreign.add_argument("file", type=path, metavar="FILE")
    foreign.add_argument("--out", type=path, required=True, metavar="TRACE")


def export_draft(arguments) -> int:
    from ..export.draft_model import export_draft as export

    a = arguments
    cut = export(a.model, a.exit_layer, a.weights, a.out, lambda line: print(printable(line)), a.gguf)
    print(f"{printable(str(a.out))}: {cut.parameters:,} parameters, {cut.bytes / 1e6:.1f} MB; README.md says how servers take it")
    if a.json:
        facts = {"layers": cut.head.exit_after + len(cut.head.layers), "weights": cut.weights, "parameters": cut.parameters}
        print(json.dumps(facts | {"bytes": cut.bytes, "places": cut.places, "largest_difference": cut.apart, "gguf": cut.gguf}))
    return 0


def import_run(arguments) -> int:
    from ..foreign.read import read_foreign
    from ..foreign.told import records_of
    from ..metrics import Metrics
    from ..rounds import fold_all
    from ..trace import write_trace

    if arguments.out.resolve() == arguments.file.resolve():
        raise UserError("--out is the file itself, which would be lost: give another name")
    check_writable(arguments.out, "the trace")
    records = records_of(read_foreign(arguments.file))
    write_trace(arguments.out, records)
    lanes = fold_all(records)
    texts = [{"program": lane.started.method, "model": lane.started.model} | Metrics.of(lane).to_json() for lane in lanes]
    for number, text in enumerate(texts, 1):
        counts = [f"{text[name]} {name}" for name in ("rounds", "drafted", "accepted") if text[name] is not None]
        print(printable(f"text {number}, {text['program']}: {text['new_tokens']} tokens, {', '.join(counts) or 'no word of drafts'}"))
    if arguments.json:
        print(json.dumps({"texts": texts}))
    return 0


COMMANDS = {"export-draft": export_draft, "import": import_run}
