import sys

try:
    from .cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while modules are imported; `main` says the same later on
    print("stopped", file=sys.stderr)
    sys.exit(130)
