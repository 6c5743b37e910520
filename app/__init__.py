"""The Gradio app. It shows what eesd_core says; it computes nothing of its own."""

import os

# Read by Gradio when it is imported, so before anything else here. Nothing is reported to anybody, and the statistics that
# Gradio would otherwise redo after every event (with pandas, over all events so far) are left out: the processor is for the race.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
# Read when torch is loaded: its threads sleep while they wait for each other. In a loop they would take the cores from whatever else runs,
# the server and the browser too, and a pass would take many times as long (docs/notes.md).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
if ZERO_GPU:
    import spaces  # noqa: F401  it must come before torch
