"""Commands about other servers: `export-draft`, a draft model for them."""

import json
from pathlib import Path

from .flags import MODELS, Shared
from .terminal import printable


def add_commands(commands, shared: Shared) -> None:
    about = "an exit layer as a model of its own, which vLLM, llama.cpp and transformers take as draft model"
    draft = commands.add_parser("export-draft", parents=[shared.said], help=about)
    draft.add_argument("--model", metavar="MODEL", help=MODELS)
    where = "folder or Hub id[@revision] of its exit layer (default: the model's folder); frozen:N for the model's own head after N layers"
    draft.add_argument("--exit-layer", metavar="DIR_OR_ID", help=where)
    which = "of the exit layer: where tokens are drawn (default), or of its twin where decoding is greedy"
    draft.add_argument("--weights", choices=["sampled", "greedy"], default="sampled", help=which)
    draft.add_argument("--out", type=Path, required=True, metavar="DIR")
    draft.add_argument("--offline", action="store_true", help="never use the network")


def export_draft(arguments) -> int:
    from ..export.draft_model import export_draft as export

    a = arguments
    cut = export(a.model, a.exit_layer, a.weights, a.out, lambda line: print(printable(line)))
    print(f"{printable(str(a.out))}: {cut.parameters:,} parameters, {cut.bytes / 1e6:.1f} MB; README.md says how servers take it")
    if a.json:
        facts = {"layers": cut.head.exit_after + len(cut.head.layers), "weights": cut.weights, "parameters": cut.parameters}
        print(json.dumps(facts | {"bytes": cut.bytes, "places": cut.places, "largest_difference": cut.apart}))
    return 0


COMMANDS = {"export-draft": export_draft}
