"""EESD Live: `python app.py` shows the demo on the embedded model. Spaces run this file."""

import argparse
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr  # noqa: E402  (after its settings)

from app.page import PLOTLY_JS, build_page, head  # noqa: E402
from eesd_core.errors import UserError  # noqa: E402
from eesd_core.loading import load_engine  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", metavar="PATH_OR_ID", help="folder or Hub id of a Llama-type model (default: the embedded model)")
    parser.add_argument("--exit-layer", metavar="DIR", help="folder of its exit layer (default: the model's folder)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, metavar="PORT")
    flags = parser.parse_args()
    try:
        engine = load_engine(flags.model, flags.exit_layer, flags.device, flags.dtype)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    gr.set_static_paths([str(PLOTLY_JS)])
    page = build_page(engine).queue(max_size=64)
    page.launch(server_name=flags.host, server_port=flags.port, head=head(), show_error=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
