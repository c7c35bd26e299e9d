"""The page: one column of steps, from a photograph to its layers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import gradio as gr

from deocclude.images import FORMATS, SUFFIXES
from deocclude.stages.presets import offered_presets, preset
from deocclude.web.limits import Limits
from deocclude.web.results import INVENTED

if TYPE_CHECKING:
    from deocclude.web.steps import Steps

WARNING = (
    f"**{INVENTED}** It is one guess among many, not what the occluder really hides. "
    "Do not use it to identify anyone, or as evidence."
)
THEME_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
HEAVY: dict[str, Any] = {"concurrency_id": "method", "concurrency_limit": 1, "api_visibility": "private"}
"""Of events that run a network: one at a time, the others wait in the queue."""
LIGHT: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}


def asset(name: str) -> str:
    """A text file of this package."""
    return files("deocclude.web").joinpath(name).read_text("utf-8")


def theme() -> gr.themes.Base:
    """Gradio's own look with the fonts of the reader's machine: none are loaded."""
    return gr.themes.Soft(primary_hue="blue", font=THEME_FONT, font_mono=("ui-monospace", "monospace"))


def build_page(steps: Steps, limits: Limits, default_preset: str) -> gr.Blocks:
    """The page over what its steps do."""
    with gr.Blocks(title="deocclude", analytics_enabled=False, delete_cache=(600, limits.kept_seconds)) as page:
        session = gr.State()
        gr.Markdown("# deocclude\nCompletes people who are partly hidden in a photograph.", elem_id="headline")
        gr.Markdown(WARNING, elem_id="invented")

        gr.Markdown("## 1. Choose a photograph", elem_classes="step")
        photograph = gr.File(
            label=f"A photograph ({', '.join(FORMATS)}; up to {limits.body_bytes // 2**20} MB)",
            file_types=list(SUFFIXES),
            height=170,
            elem_id="photograph",
        )
        sample = gr.Button("Or try it with a sample picture", size="sm", elem_id="sample")

        with gr.Column(visible=False) as chosen_photograph:
            gr.Markdown("## 2. Click the person", elem_classes="step")
            told = gr.Markdown(elem_id="told")
            picture = gr.HTML(
                value=None,
                html_template=asset("picture.html"),
                js_on_load=asset("picture.js"),
                apply_default_css=False,
                elem_id="picture",
            )
            with gr.Accordion("More wishes (all may stay as they are)", open=False):
                wishes = _wishes(default_preset, limits)
            gr.Markdown("## 3. Complete", elem_classes="step")
            with gr.Row():
                complete = gr.Button("Complete this person", variant="primary", elem_id="complete", scale=2)
                everybody = gr.Button("Complete everybody", elem_id="everybody", scale=1, visible=False)
                stop = gr.Button("Cancel", variant="stop", elem_id="cancel", visible=False, scale=1, min_width=100)
            working = gr.Markdown("&nbsp;", visible=False, elem_id="working", min_height=90)

        with gr.Column(visible=False) as done:
            gr.Markdown("## 4. Compare and download", elem_classes="step")
            summary = gr.Markdown(elem_id="summary")
            before_after = gr.ImageSlider(
                label="Before and after: drag the line", show_label=True, interactive=False, type="filepath",
                buttons=["fullscreen"], max_height=640, elem_id="before-after",
            )  # fmt: skip
            with gr.Row():
                outlined = gr.Checkbox(False, label="Outline what was invented", elem_id="outlined")
                candidate = gr.Slider(1, 2, 1, step=1, label="Candidate", visible=False, elem_id="candidate")
            with gr.Row():
                cutout = gr.DownloadButton("Download the person (PNG)", variant="primary", elem_id="cutout")
                archive = gr.DownloadButton("Download all layers (ZIP)", elem_id="archive")
            with gr.Accordion("Single layers: masks, OpenRaster for GIMP and Krita, JSON", open=False):
                layers = gr.File(show_label=False, file_count="multiple", interactive=False, elem_id="layers")
        gr.Markdown("For programs: [the HTTP API](/api/docs).", elem_id="api")

        # What happens.
        found = [session, picture, told, everybody, chosen_photograph, done]
        results = [summary, before_after, outlined, candidate, cutout, archive, layers, done]
        views = gr.State()  # the pictures that the result can show
        gr.on(
            [photograph.upload], steps.open, [photograph, wishes["preset"], session], found,
            show_progress_on=photograph, **HEAVY,
        )  # fmt: skip
        sample.click(steps.open_sample, [wishes["preset"], session], found, show_progress_on=sample, **HEAVY)
        photograph.clear(lambda: [gr.update(visible=False)] * 2, None, [chosen_photograph, done], **LIGHT)
        for event, look in ((picture.point, steps.point), (picture.box, steps.box)):
            event(look, [session, picture, wishes["preset"]], found[:4], show_progress_on=told, **HEAVY)
        picture.chosen(steps.chosen, [session], [told], **LIGHT)
        wishes["preset"].input(steps.change_preset, [picture, wishes["preset"]], [picture], **HEAVY)
        wanted = [session, picture, *wishes.values()]
        for button, step in ((complete, steps.complete), (everybody, steps.complete_everybody)):
            begun = button.click(_begun, None, [stop, working, done], **LIGHT)
            run = begun.then(step, wanted, [views, *results], show_progress_on=working, scroll_to_output=True, **HEAVY)
            run.then(_ended, None, [stop, working], **LIGHT)
            stop.click(steps.stop, None, [stop, working], cancels=[run], **LIGHT)
        shown = [views, candidate, outlined]
        for control in (candidate, outlined):
            control.input(steps.show, shown, [before_after, cutout], **LIGHT)
        page.unload(steps.leave)
    page.queue(max_size=limits.waiting, default_concurrency_limit=4, api_open=False)
    page.state_session_capacity = limits.sessions
    return page


def _begun() -> list[Any]:
    """Cancel and progress are there, the last result is not."""
    return [gr.update(visible=True), gr.update(visible=True), gr.update(visible=False)]


def _ended() -> list[Any]:
    return [gr.update(visible=False), gr.update(visible=False)]


def method_choices(default_preset: str) -> list[tuple[str, str]]:
    """What the menu of methods says, and the presets it means: those that can run here first, with their licences."""
    here = {default_preset: True} | offered_presets()
    return [(f"{name}: {preset(name).title}{'' if runs else ', needs weights'}", name) for name, runs in here.items()]


def _wishes(default_preset: str, limits: Limits) -> dict[str, Any]:
    """The inputs for what a user may wish besides, by name, in the order in which `steps` takes them."""
    method = gr.Dropdown(
        method_choices(default_preset), value=default_preset, label="Method", elem_id="preset",
        info="Those that can run here come first; the others need weights ('deocclude weights list').",
    )  # fmt: skip
    extend = gr.Checkbox(
        False, label="Go on beyond the edge of the picture, where it cuts somebody off", elem_id="extend"
    )
    words = gr.Textbox(
        label="Describe the person", placeholder="a woman in a red coat", max_length=300, elem_id="words"
    )
    box = gr.Textbox(
        label="Box that the whole person fills", placeholder="left, top, right, bottom in pixels", max_length=60,
        elem_id="box",
    )  # fmt: skip
    reference = gr.File(label="Another photograph of the person", file_types=list(SUFFIXES), height=100)
    with gr.Row():
        candidates = gr.Slider(1, limits.candidates, 1, step=1, label="Candidates: pictures to choose from")
        seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, label="Seed: another one draws another picture")
    gr.Markdown("A wish that the method cannot fulfil is answered with a sentence that says which one can.")
    return {
        "preset": method, "extend": extend, "words": words, "box": box, "reference": reference,
        "candidates": candidates, "seed": seed,
    }  # fmt: skip
