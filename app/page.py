"""The page: a form, and one component in which the renderer draws. Its template is constant: model text never becomes HTML."""

import html
import json
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import plotly

from eesd_core.engine import Engine

from .settings import CONTROLLERS, MOST_NEW_TOKENS
from .visit import Visits

ASSETS = Path(__file__).resolve().parents[1] / "assets"
OPENING = ASSETS / "traces" / "opening.ndjson"  # a recorded race, made by `python -m eesd_core record`
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
STREAMS_AT_ONCE = 96  # visitors who may watch or wait; the device serves one at a time
TAGLINE = "Early-exiting speculative decoding beside plain decoding: the same text, two clocks."
LEVELS = {
    "exact-by-construction": (
        "exact by construction",
        "Tested when the model was loaded: on this machine, checking many tokens in one pass gives bit for bit what one token at a time "
        "gives. So the text of EESD cannot differ from the plain one.",
    ),
    "exact-as-observed": (
        "exact as observed",
        "On this machine a pass over many tokens rounds a little differently from one token at a time, so two nearly equal candidates "
        "could swap. Every run compares both texts token by token and says what it found.",
    ),
}
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # the visitor's own: nothing to load
THEME = gr.themes.Default(primary_hue="blue", neutral_hue="slate", **FONTS)
ATTACH = "const view = EESD.page.attach(element.firstElementChild); watch('value', () => view.feed(props.value)); view.feed(props.value);"


def launch(visits: Visits, host: str | None = None, port: int | None = None, **options) -> gr.Blocks:
    """Serve the page. Without host and port Gradio's own environment variables count. SSR is off: one way to render, here and on Spaces."""
    gr.set_static_paths([PLOTLY_JS])
    page = build_page(visits)
    page.queue(max_size=2 * STREAMS_AT_ONCE)
    # Gradio asks its queue for work a thousand times a second, and every time takes the interpreter away from the engine.
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = 0.02
    settings = {"theme": THEME, "footer_links": [], "ssr_mode": False, "run_history": False, "max_threads": STREAMS_AT_ONCE + 8}
    page.launch(server_name=host, server_port=port, **settings, **options)
    return page


def build_page(visits: Visits) -> gr.Blocks:
    prompts = json.loads((ASSETS / "prompts.json").read_text(encoding="utf-8"))

    async def run(prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length, request: gr.Request):
        form = (prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length)
        async for text in visits.run(request.session_hash, *form):
            yield text

    async def stop(request: gr.Request) -> None:
        await visits.stop(request.session_hash)

    with gr.Blocks(title="EESD Live", fill_width=True, analytics_enabled=False) as page:
        gr.HTML(title(visits.engine), padding=False, apply_default_css=False)
        with gr.Row(elem_classes="eesd-form"):
            label = "Prompt (Ctrl+Enter runs, Escape stops)"
            prompt = gr.Textbox(prompts[0]["prompt"], label=label, lines=2, max_lines=2, scale=1, elem_id="prompt")
            with gr.Column(scale=0, min_width=0, elem_classes="eesd-side"):
                with gr.Row(elem_classes="eesd-buttons"):
                    run_button = gr.Button("Run", variant="primary", elem_id="run")
                    stop_button = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
                    reset_button = gr.Button("Reset", elem_id="reset")
                choices = [(entry["name"], entry["prompt"]) for entry in prompts]
                examples = gr.Dropdown(choices, value=prompts[0]["prompt"], label="Examples", container=False, elem_id="examples")
        with gr.Accordion("Settings", open=False, elem_id="settings"), gr.Row():
            temperature = gr.Number(0.8, label="Temperature", info="0 is greedy; at most 2", step=0.1, elem_id="temperature")
            top_p = gr.Number(1, label="Top-p", info="1 keeps every token", step=0.05, elem_id="top-p")
            seed = gr.Textbox("7", label="Seed", info="same seed, same text", elem_id="seed")
            new_tokens = gr.Number(128, label="New tokens", info=f"1 to {MOST_NEW_TOKENS}", elem_id="new-tokens")
            controller = gr.Radio(CONTROLLERS, value="beta", label="Controller", info="when to stop drafting", elem_id="controller")
            alpha = gr.Number(1, label="Prior alpha", info="drafts believed right", elem_id="alpha")
            beta = gr.Number(1, label="Prior beta", info="drafts believed wrong", elem_id="beta")
            length = gr.Number(4, label="Draft length", info="0 to 15, every round", elem_id="length")
        bare = {"padding": False, "apply_default_css": False}
        stage = gr.HTML("", html_template="<div class='eesd'></div>", js_on_load=ATTACH, head=head(), elem_id="stage", **bare)

        form = [prompt, temperature, top_p, seed, new_tokens, controller, alpha, beta, length]
        buttons = [run_button, stop_button]
        in_browser = {"fn": None, "show_progress": "hidden", "api_visibility": "private"}
        examples.input(inputs=examples, outputs=prompt, js="text => text", **in_browser)
        run_button.click(outputs=buttons, js="() => EESD.page.buttons(true)", **in_browser)
        streaming = {"show_progress": "hidden", "concurrency_limit": STREAMS_AT_ONCE, "concurrency_id": "race"}
        running = run_button.click(run, form, stage, api_name="race", **streaming)
        running.then(outputs=buttons, js="() => EESD.page.buttons(false)", **in_browser)  # whatever ended it
        stop_button.click(stop, queue=False, show_progress="hidden", api_visibility="private")
        first_values = json.dumps([component.value for component in (*form, examples)])
        reset_button.click(outputs=[*form, examples], js=f"() => EESD.page.reset({first_values})", **in_browser)
    return page


def title(engine: Engine) -> str:
    target, chip = engine.target, "<span class='eesd-chip {}'>{}</span>"
    facts = target.name, f"{target.device} {str(target.dtype).removeprefix('torch.')}"
    chips = chip.format("eesd-mode eesd-live", "LIVE") + "".join(chip.format("eesd-live", html.escape(fact)) for fact in facts)
    name, hint = LEVELS[engine.level]
    level = f"<span class='eesd-chip eesd-level eesd-live' tabindex='0'>{name}<span class='eesd-hint' role='tooltip'>{hint}</span></span>"
    theme = "<button class='eesd-theme' id='theme' title='light or dark' aria-label='light or dark'>◐</button>"
    return f"<header class='eesd-title'><h1>EESD Live</h1>{recorded(chip)}{chips}{level}<p>{TAGLINE}</p>{theme}</header>"


def recorded(chip: str) -> str:
    """What stands in the place of the live chips while the recording is on the page."""
    with OPENING.open(encoding="ascii") as lines:
        head, started = json.loads(next(lines)), json.loads(next(lines))
    cores = f"{head['cores']} core{'' if head['cores'] == 1 else 's'}"
    facts = f"{head['date']}, {head['machine']}, {cores}, {started['dtype']}"
    return chip.format("eesd-mode eesd-recorded", "RECORDED") + chip.format("eesd-recorded", html.escape(facts))


def head() -> str:
    """Style and scripts, inline because they are small. In the component's own head, since that is sure to be there before it is drawn."""
    web = ASSETS / "web"
    files = [*(web / "scripts.txt").read_text(encoding="utf-8").split(), "page.js"]
    scripts = "\n".join((web / name).read_text(encoding="utf-8") for name in files)
    style = "\n".join((web / name).read_text(encoding="utf-8") for name in ("style.css", "page.css"))
    opening = json.dumps(OPENING.read_text(encoding="ascii"))  # free of "<", so it cannot end the script
    plotly_url = f"gradio_api/file={quote(PLOTLY_JS.as_posix())}"  # relative, so that it works behind a proxy's path
    values = f"EESD.page.opening = {opening};\nEESD.page.loadPlotly({json.dumps(plotly_url)});"
    return f"<style>{style}</style><script>{scripts}\n{values}</script>"
