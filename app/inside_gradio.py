"""All uses of Gradio internals, for which there is no public setting. tests/app/test_inside_gradio.py fails when Gradio changes them."""

from pathlib import Path

import gradio as gr
from gradio.routes import BUILD_PATH_LIB

REST = 0.02  # seconds
GRADIO_ASSETS = Path(BUILD_PATH_LIB)  # a flat folder, served as /assets
UNASKED = {"_frontend": False}  # an option of launch: otherwise Gradio gives up if the first answer takes 3 seconds, as on a busy machine


def rest_between_looks(page: gr.Blocks) -> None:
    """Poll the queue less often. By default Gradio polls it a thousand times a second and takes the interpreter from the engine each
    time."""
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = REST
