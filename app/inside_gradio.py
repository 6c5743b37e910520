"""What we must reach for inside Gradio, because it has no public setting: all of it is here. tests/app/test_inside_gradio.py fails where
Gradio moves it."""

import gradio as gr

REST = 0.02  # seconds
UNASKED = {"_frontend": False}  # an option of launch: Gradio would give up where the first answer takes 3 seconds, as on a busy machine


def rest_between_looks(page: gr.Blocks) -> None:
    """Gradio asks its queue for work a thousand times a second, and each time takes the interpreter away from the engine."""
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = REST
