"""The page: a form, and one component in which the renderer draws. Its template is constant: model text never becomes HTML."""

import html
import json
from pathlib import Path

import gradio as gr
import plotly

from eesd_core.engine import Engine

from .device import Device
from .visit import Visits

WEB = Path(__file__).resolve().parents[1] / "assets" / "web"
PROMPTS = Path(__file__).resolve().parents[1] / "assets" / "prompts.json"
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
ATTACH = "const view = window.EESD.attach(element.querySelector('.eesd')); watch('value', () => view.feed(props.value)); view.feed(props.value);"
STREAMS_AT_ONCE = 32  # visitors who may watch or wait; the device serves one at a time
LEVELS = {"exact-by-construction": "exact by construction", "exact-as-observed": "exact as observed"}


def head() -> str:
    """The renderer inline (it is small) and plotly.js from the installed package; nothing comes from a CDN."""
    scripts = "\n".join((WEB / name).read_text(encoding="utf-8") for name in (WEB / "scripts.txt").read_text().split())
    style = (WEB / "style.css").read_text(encoding="utf-8")
    plotly_tag = f'<script src="/gradio_api/file={html.escape(str(PLOTLY_JS))}" defer></script>'
    return f"<style>{style}</style>\n{plotly_tag}\n<script>{scripts}</script>"


def title(engine: Engine) -> str:
    target = engine.target
    facts = ["LIVE", target.name, f"{target.device} {str(target.dtype).removeprefix('torch.')}", LEVELS[engine.level]]
    chips = "".join(f"<span class='eesd-chip'>{html.escape(fact)}</span>" for fact in facts)
    return f"<header class='eesd-title'><h1>EESD Live</h1>{chips}<p>Early-exiting speculative decoding beside plain decoding, on an honest clock.</p></header>"


def build_page(engine: Engine) -> gr.Blocks:
    visits = Visits(engine, Device())
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))

    def run(prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length, request: gr.Request):
        form = (prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length)
        yield from visits.run(request.session_hash, *form)

    def stop(request: gr.Request) -> None:
        visits.stop(request.session_hash)

    with gr.Blocks(title="EESD Live", fill_width=True, analytics_enabled=False) as page:
        gr.HTML(title(engine), padding=False)
        with gr.Row(elem_classes="eesd-form", equal_height=True):
            prompt = gr.Textbox(prompts[0]["prompt"], label="Prompt", lines=2, max_lines=4, scale=6, elem_id="prompt")
            choices = [(entry["name"], entry["prompt"]) for entry in prompts]
            examples = gr.Dropdown(choices, value=prompts[0]["prompt"], label="Examples", scale=2, min_width=150, elem_id="examples")
            with gr.Column(scale=2, min_width=150, elem_classes="eesd-buttons"):
                run_button = gr.Button("Run", variant="primary", elem_id="run")
                with gr.Row(elem_classes="eesd-buttons-small"):
                    stop_button = gr.Button("Stop", variant="stop", size="sm", min_width=60, elem_id="stop")
                    reset_button = gr.Button("Reset", size="sm", min_width=60, elem_id="reset")
        with gr.Accordion("Settings", open=False, elem_id="settings"), gr.Row():
            temperature = gr.Slider(0, 2, 0.8, step=0.05, label="Temperature", info="0 is greedy", elem_id="temperature")
            top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", elem_id="top-p")
            seed = gr.Textbox("7", label="Seed", info="same seed, same text", elem_id="seed")
            new_tokens = gr.Number(128, label="New tokens", precision=None, info="1 to 512", elem_id="new-tokens")
            controller = gr.Radio(["beta", "fixed"], value="beta", label="Controller", info="when to stop drafting", elem_id="controller")
            alpha = gr.Number(1, label="Prior alpha", info="beta", elem_id="alpha")
            beta = gr.Number(1, label="Prior beta", info="beta", elem_id="beta")
            length = gr.Slider(0, 15, 4, step=1, label="Draft length", info="fixed", elem_id="length")
        stage = gr.HTML("", html_template="<div class='eesd'></div>", js_on_load=ATTACH, padding=False, elem_id="stage")

        form = [prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length]
        examples.input(lambda text: text, examples, prompt, queue=False, api_visibility="private")
        run_button.click(
            run, form, stage, show_progress="hidden", concurrency_limit=STREAMS_AT_ONCE, concurrency_id="race", api_name="race"
        )
        stop_button.click(stop, None, None, queue=False, show_progress="hidden", api_visibility="private")
        # Reset stops the run, clears the stage and restores the form.
        defaults = [component.value for component in form]
        reset_button.click(stop, None, None, queue=False, show_progress="hidden", api_visibility="private").then(
            lambda: [*defaults, defaults[0], ""], None, [*form, examples, stage], queue=False, show_progress="hidden", api_visibility="private"
        )
    return page
