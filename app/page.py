"""The page: a form, and one component that the renderer draws into. The component's template is constant: model text never becomes HTML.

The page is served before the model is loaded, so nothing here imports torch, and what is known of the model is given anew to every visitor.
"""

import base64
import gzip
import html
import json
import os
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import gradio as gr
from starlette.middleware import Middleware

from eesd_core.environment import versions
from eesd_core.export.scripts import WEB, join_modules
from eesd_core.model.precisions import OWN
from eesd_core.schema import SCHEMA

from .api import add_endpoints, address_of
from .engines import Engines
from .form import (
    CONTROLLER,
    DRAFTING,
    HEADS_NEEDED,
    HISTORY,
    KNOBS,
    MODEL,
    PROMPT,
    QUANTIZE,
    SAMPLING,
    STOP,
    SYSTEM,
    Field,
    for_links,
    visibility,
)
from .inside_gradio import UNASKED, rest_between_looks
from .routes import TRACES, NoUploads, OwnPart, PackedPage, plotly_address, routes
from .runs import Visits
from .studies import CONTESTANTS, TEXTS, examples_of

if TYPE_CHECKING:
    from eesd_core.engine import Engine

OPENING = TRACES / "opening.ndjson"  # a recorded race, made by `python -m tools.record_opening`
STYLES = ("base.css", "style.css", "guide.css", "takeaway.css", "studies.css", "together.css", "sandbox.css", "rooms.css", "page.css")
STREAMS_AT_ONCE = 96  # visitors who may watch or wait; the device serves one at a time
TAGLINE = (
    "Early-exiting speculative decoding: the model's first layers guess the next tokens, its other layers check all guesses in one pass. "
    "The same text, two clocks."
)
LEVELS = {
    "exact-by-construction": (
        "exact by construction",
        "Tested when the model was loaded: on this machine, passes over 2 to 16 tokens, the most a round checks, gave bit for bit what one "
        "token at a time gives, early in the context and at its end. So both texts are the same as far as that test reaches; every run "
        "compares them all the same.",
    ),
    "exact-as-observed": (
        "exact as observed",
        "On this machine a pass over many tokens rounds a little differently from one token at a time, so two nearly equal candidates "
        "could swap. Every run compares both texts token by token and says what it found.",
    ),
    "same-distribution": (
        "same distribution",
        "Rejection sampling: each text is a draw of its own from the same distribution. The texts may differ, the probabilities do not.",
    ),
}
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # system fonts: nothing to load
THEME = gr.themes.Default(primary_hue="blue", neutral_hue="slate", **FONTS)
ATTACH = "const view = EESD.page.attach(element.firstElementChild); watch('value', () => view.feed(props.value)); view.feed(props.value);"

# The page may be there before our scripts if it was rendered on the server.
FROM_LINK = """async (...values) => {
    while (!window.EESD?.page) await new Promise((next) => setTimeout(next, 20));
    return EESD.page.fromLink(values);
}"""


def launch(visits: Visits, host: str | None = None, port: int | None = None, openai: bool = False, **options) -> gr.Blocks:
    """Serve the page. Without host and port, Gradio's environment variables apply. `openai` adds the OpenAI-compatible API (openai.py).
    `options` are passed to Blocks.launch.

    Server-side rendering (ssr_mode) is off by default, so the page renders the same way here and on Spaces.
    """
    own = partial(own_part, visits)
    rendered = options.get("ssr_mode")  # then the page goes to the browser past our middleware
    page = build_page(visits, head=own() if rendered else "")
    page.queue(max_size=2 * STREAMS_AT_ONCE)
    rest_between_looks(page)
    settings = {"theme": THEME, "footer_links": [], "ssr_mode": False, "run_history": False, "max_threads": STREAMS_AT_ONCE + 8}
    settings["state_session_capacity"] = STREAMS_AT_ONCE  # for this many visitors Gradio keeps the last text, long after they have left
    settings["show_error"] = True  # tells a program that it sent too few values; a failed run has its own message (device.py)
    middleware = [Middleware(PackedPage), Middleware(OwnPart, str if rendered else own), Middleware(NoUploads)]
    settings["app_kwargs"] = {"routes": routes(visits, openai), "middleware": middleware}
    page.launch(server_name=host, server_port=port, **UNASKED | settings | options)
    return page


def build_page(visits: Visits, head: str = "") -> gr.Blocks:
    """`head` is loaded with the component in which the view is drawn."""
    engines = visits.engines
    replies = engines.replies(engines.model)
    prompts = examples_of(replies)

    async def run(request: gr.Request, *form):
        async for text in visits.run(request.session_hash, address_of(request), *form):
            yield text

    def begin_with(name: str) -> tuple[str, bool, str]:
        """Prompt, chat or not, and earlier turns after a model was chosen. A conversation with another model ends here."""
        return examples_of(engines.replies(name))[0]["prompt"], engines.replies(name), ""

    async def stop(request: gr.Request) -> None:
        await visits.stop(request.session_hash)

    with gr.Blocks(title="EESD Live", fill_width=True, analytics_enabled=False) as page:
        gr.HTML(title(visits), padding=False, apply_default_css=False)
        with gr.Row(elem_classes="eesd-form"):
            prompt = gr.Textbox(prompts[0]["prompt"], label=PROMPT.label, info=PROMPT.info, lines=2, max_lines=2, scale=1, elem_id="prompt")
            with gr.Column(scale=0, min_width=0, elem_classes="eesd-side"):
                with gr.Row(elem_classes="eesd-buttons"):
                    run_button = gr.Button("Run", variant="primary", elem_id="run")
                    stop_button = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
                    reset_button = gr.Button("Reset", elem_id="reset")
                with gr.Row(elem_classes="eesd-choices"):
                    words = {"label": "Examples", "elem_id": "examples"}
                    examples = gr.Dropdown(choices(prompts), value=prompts[0]["prompt"], container=False, min_width=0, **words)
                    model = model_choice(engines)
        with gr.Accordion("Settings", open=False, elem_id="settings"):
            with gr.Row():
                sampling = [component(field) for field in SAMPLING]
                system, stop_text = component(SYSTEM), component(STOP)
            with gr.Row():
                controller = [component(field) for field in (CONTROLLER, *KNOBS, *DRAFTING)]
                weights = weights_choice(engines, visits.engine)
            bare = {"padding": False, "apply_default_css": False}
            gr.HTML("", html_template="<p class='eesd-drafter-note'></p>", js_on_load="window.EESD?.page.offer()", **bare)
        stage = gr.HTML("", html_template="<div class='eesd'></div>", js_on_load=ATTACH, head=head, elem_id="stage", **bare)

        with gr.Column(elem_classes="eesd-unseen"):  # hidden fields and buttons that the view fills in and presses
            history = gr.Textbox("", label=HISTORY.label, elem_id=HISTORY.element)
            reply_button = gr.Button("Send", elem_id="reply")

        chat = sampling[[field.name for field in SAMPLING].index("chat")]
        chat.value = replies
        form = [prompt, *sampling, *controller, weights, model, stop_text, system, history]
        buttons = [run_button, stop_button]
        in_browser = {"fn": None, "show_progress": "hidden", "api_visibility": "private"}
        told = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
        model.input(begin_with, model, [prompt, chat, history], **told)
        model.change(inputs=model, outputs=examples, js="name => EESD.page.examples(name)", **in_browser)  # a link may choose it too
        examples.input(inputs=examples, outputs=[prompt, history], js="text => [text, '']", **in_browser)
        run_button.click(outputs=buttons, js="() => EESD.page.buttons(true)", **in_browser)
        streaming = {"show_progress": "hidden", "concurrency_limit": STREAMS_AT_ONCE, "concurrency_id": "race"}
        running = run_button.click(run, form, stage, api_name="stream", api_visibility="undocumented", **streaming)
        running.then(outputs=buttons, js="() => EESD.page.buttons(false)", **in_browser)  # however it ended
        turn = reply_button.click(outputs=[prompt, history], js="() => EESD.page.turn", **in_browser)
        turn.then(js="() => EESD.page.press('run')", **in_browser)
        stop_button.click(stop, queue=False, show_progress="hidden", api_visibility="private")
        first_values = json.dumps([component.value for component in (*form, examples)])
        reset_button.click(outputs=[*form, examples], js=f"() => EESD.page.reset({first_values})", **in_browser)
        page.load(inputs=form, outputs=[*form, examples], js=FROM_LINK, **in_browser)
        changes = [component.change for component in form]
        gr.on(changes, inputs=form, js="(...values) => void EESD.page.remember(values)", trigger_mode="multiple", **in_browser)
        add_endpoints(visits, STREAMS_AT_ONCE)
    return page


def choices(prompts: list[dict]) -> list[tuple[str, str]]:
    return [(entry["name"], entry["prompt"]) for entry in prompts]


def component(field: Field) -> gr.components.Component:
    words = {"label": field.label, "info": field.info, "elem_id": field.element}
    if field.kind == "choice":
        return gr.Radio(list(field.choices), value=field.value, **words)
    if field.kind == "flag":
        return gr.Checkbox(field.value, **words)
    if isinstance(field.value, str):
        return gr.Textbox(field.value, **words)  # a seed too: it may be longer than a browser's number
    return gr.Number(field.value, placeholder=field.usual, step=1 if field.kind == "whole" else 0.05, **words)


def weights_choice(engines: Engines, engine: "Engine | None") -> gr.Radio:
    """Chooses the precision of the next run's weights. If there is no choice, it shows their precision and says why."""
    plain = engine.target.precision if engine and engines.start == "none" else "not quantised"
    names = {"none": plain, "q8": "q8", "q4": "q4", "8bit": "8-bit", "4bit": "4-bit"}
    offered = [(names[name], name) for name in QUANTIZE.choices]
    free = len(engines.offered) > 1
    usual = "q8 and q4 on a CPU, 8 and 4 bits by bitsandbytes; the first run with one loads it"
    info = usual if free else "the host's choice: a large model may not fit twice"
    return gr.Radio(offered, value=engines.start, label=QUANTIZE.label, info=info, interactive=free, elem_id=QUANTIZE.element)


def model_choice(engines: Engines) -> gr.Dropdown:
    """Chooses between the host's model and those beside it; hidden if there is only one."""
    names, shown = list(engines.models), len(engines.models) > 1
    return gr.Dropdown(names, value=engines.model, label=MODEL.label, container=False, min_width=0, visible=shown, elem_id=MODEL.element)


def title(visits: Visits) -> str:
    """The page's scripts fill in what is not known before the model is loaded (panels/title.js)."""
    host = visits.host
    chips = "<span class='eesd-chip eesd-mode eesd-live'>LIVE</span>" + chip("eesd-live eesd-model-live", host["model"])
    chips += chip("eesd-live eesd-where-live", f"{host['device']} {host['dtype']}".strip())
    chips += chip("eesd-live eesd-level", *LEVELS.get(host["level"], ("", "")))
    theme = "<button class='eesd-theme' id='theme' title='light or dark' aria-label='light or dark'>◐</button>"
    tools = "<span class='eesd-tools'></span>"  # for the view's own buttons
    bar = f"<div class='eesd-bar'><h1>EESD Live</h1>{recorded()}{chips}{tools}{theme}</div>"
    return f"<header class='eesd-title'>{bar}<p>{TAGLINE}</p></header>{caution(visits.engine)}"


def chip(names: str, text: str, hint: str = "") -> str:
    """`hint` is shown under the pointer. `names`: CSS classes."""
    told = f"<b>{html.escape(text)}</b><span class='eesd-hint' role='tooltip'>{html.escape(hint)}</span>"
    return f"<span class='eesd-chip {names}' tabindex='{0 if hint else -1}'>{told}</span>"


def caution(engine: "Engine | None") -> str:
    """A warning if the model drafts without a trained exit layer."""
    layer = getattr(engine, "exit_layer", None)
    if not (layer and layer.note):
        return ""
    facts = f"data-model='{html.escape(engine.target.name)}' data-layer='{layer.exit_after}'"
    return f"<p class='eesd-caution' role='note' {facts}>{html.escape(layer.note)}</p>"


def recorded() -> str:
    """The chips that replace the live ones while the recording is on the page."""
    with OPENING.open(encoding="ascii") as lines:
        head, started = json.loads(next(lines)), json.loads(next(lines))
    cores = f"{head['cores']} core{'' if head['cores'] == 1 else 's'}"
    facts = f"{started['model']}, {head['date']}, {head['machine']}, {cores}"
    return "<span class='eesd-chip eesd-mode eesd-recorded'>RECORDED</span>" + chip("eesd-recorded eesd-where", facts)


def own_part(visits: Visits) -> str:
    """Style and scripts, inline because they are small."""
    engines = visits.engines
    fetching = tuple(name for name, beside in engines.beside.items() if not beside.arrival.ready)
    return joined(visits, visits.engine, fetching)


@lru_cache(4)
def joined(visits: Visits, engine: "Engine | None", fetching: tuple[str, ...]) -> str:
    """The same as long as nothing was loaded and nothing arrived. `fetching`: models that are still on their way."""
    style = "\n".join((WEB / name).read_text(encoding="utf-8") for name in STYLES)
    facts = {"machine": visits.host["machine"], "cores": os.cpu_count(), "versions": versions()}
    opening = base64.b64encode(gzip.compress(OPENING.read_bytes(), mtime=0)).decode()
    page = {"opening": opening, "facts": facts, "form": for_links(), "levels": LEVELS, "studies": visits.studies}
    engines = visits.engines
    page |= {"contestants": CONTESTANTS, "texts": TEXTS}
    page |= {"needs": HEADS_NEEDED, "heads": {name: engines.heads(name) for name in engines.models}}
    page["precisions"] = [name for name in engines.offered if name in ("none", *OWN)]  # for the precision race
    page["examples"] = {name: choices(examples_of(engines.replies(name))) for name in engines.models}
    page["host"], page["models"] = visits.host, fetching
    page["plotly"] = plotly_address()
    script = join_modules("page.js", {"schema": SCHEMA, "page": page})
    return f"<style>{style}\n{visibility()}</style><script>{script}</script>"
