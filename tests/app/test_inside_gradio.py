"""What we use of Gradio's inside is still there, and still does what we set it for."""

import inspect

import gradio as gr

from app.inside_gradio import GRADIO_ASSETS, REST, UNASKED, rest_between_looks


def test_the_queue_rests_by_two_numbers():
    with gr.Blocks() as page:
        pass
    page.queue()
    for name in ("sleep_when_free", "progress_update_sleep_when_free"):
        assert 0 < getattr(page._queue, name) < REST, "Gradio looks less often by itself: leave it alone"
        assert f"asyncio.sleep(self.{name})" in inspect.getsource(gr.queueing)
    rest_between_looks(page)
    assert page._queue.sleep_when_free == page._queue.progress_update_sleep_when_free == REST


def test_launch_can_leave_out_asking_itself():
    assert UNASKED.keys() <= inspect.signature(gr.Blocks.launch).parameters.keys()
    assert "if _frontend and not networking.url_ok" in inspect.getsource(gr.Blocks.launch)


def test_the_folder_of_its_scripts_is_flat_and_their_names_hold_a_hash():
    assert '@app.get("/assets/{path:path}")' in inspect.getsource(gr.routes)
    files = list(GRADIO_ASSETS.iterdir())
    assert len(files) > 100 and all(file.is_file() for file in files)
    assert all("-" in file.stem for file in files if file.suffix == ".js")
