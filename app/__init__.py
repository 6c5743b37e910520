"""The Gradio app. It shows what eesd_core says; it computes nothing of its own."""

import os

# Gradio reads these on import, so they come first. Nothing is reported to anybody. Gradio would also recompute statistics after every
# event (with pandas, over all events so far); we turn that off and leave the processor to the race.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
# Read when torch is loaded. Torch's threads then sleep while they wait for each other. Busy waiting would take the cores from everything
# else, the server and the browser included, and a pass would take many times as long (docs/notes.md).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
if ZERO_GPU:
    import spaces  # noqa: F401  must be imported before torch
