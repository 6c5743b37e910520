"""EESD Live: `python app.py` shows the demo on the embedded model. Spaces run this file."""

import argparse
import sys

from app.page import launch
from app.visit import Visits
from eesd_core.errors import UserError
from eesd_core.loading import load_engine


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
        visits = Visits.load(lambda: load_engine(flags.model, flags.exit_layer, flags.device, flags.dtype))
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    launch(visits, flags.host, flags.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
