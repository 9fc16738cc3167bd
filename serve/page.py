"""Turns a trained run into a page: clips and text go in; the answer and what it rests on come out."""

import threading
from pathlib import Path
from typing import Any

import gradio as gr
import soundfile

from gia_mic.config import ListenConfig
from gia_mic.explain import explain
from gia_mic.extract.errors import MerError
from gia_mic.model import Model
from gia_mic.predictor import Input
from gia_mic.serve.live import LiveSpeech
from gia_mic.serve.view import answer_html, explanation_html, heading_html, refusal_html

__all__ = ["build_app"]

HERE = Path(__file__).resolve().parent

DELETE_EVERY_S, DELETE_AFTER_S = 60, 3600
"""How often files that were uploaded are looked at, and from what age on they are deleted."""

LISTEN_EVERY_S = 0.5
"""Seconds of sound that the microphone sends at once."""

LISTEN_EVERY = f"() => ({{__type__: 'update', stream_every: {LISTEN_EVERY_S}}})"
"""Says so to Gradio's microphone, which takes 0.1 s whatever `stream_every` is, and then loses pieces."""

EMPTY = '<p class="mer-faint">The answer will stand here.</p>'

LIVE_REGION = '<div aria-live="polite">${value}</div>'
"""What a screen reader reads out when it changes."""


class _Page(gr.Blocks):
    """A page that looks alike whoever launches it, and asks for nothing but its own files."""

    def launch(self, *positional: Any, **options: Any) -> Any:
        """Start to serve it; `options` are those of `gradio.Blocks.launch`."""
        look = {
            "theme": _theme(),
            "css_paths": HERE / "page.css",
            "head_paths": HERE / "head.html",
            "footer_links": [],
            "run_history": False,  # it would keep clips and answers in the browser
            "share": False,
            "ssr_mode": False,
        }
        return super().launch(*positional, **(look | options))


def _theme() -> Any:
    """Return the colours, with grey text that is dark enough to read, and fonts that every system has."""
    theme = gr.themes.Default(
        primary_hue="sky",
        secondary_hue="sky",
        neutral_hue="stone",
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    )
    primary = "*primary_700"
    return theme.set(
        body_text_color_subdued="#5f5f5a",
        body_text_color_subdued_dark="#a5a59e",
        color_accent=primary,
        button_primary_background_fill=primary,
        button_primary_background_fill_dark=primary,
    )


def build_app(model: Model) -> gr.Blocks:
    """Return the page of a model; its `launch()` serves it.

    It has inputs for the modalities that the model takes, and for one with speech also a live mode. The model answers
    one request at a time.

    Raises:
        EncoderError: An encoder can't be found or has changed.
    """
    model.encoders.load(model.modalities)  # before somebody waits for them
    lock = threading.Lock()
    with _Page(
        title="Emotion recognition", analytics_enabled=False, delete_cache=(DELETE_EVERY_S, DELETE_AFTER_S)
    ) as page:
        _html(heading_html(model))
        if "speech" in model.modalities:
            with gr.Tab("A clip"):
                _clip(model, lock)
            with gr.Tab("Live") as tab:
                microphone = _live(model, lock)
            tab.select(None, None, microphone, js=LISTEN_EVERY)
        else:
            _clip(model, lock)
    return page


def _clip(model: Model, lock: threading.Lock) -> None:
    """Add the inputs for one clip and its text, and the answer."""
    inputs: dict[str, Any] = {}
    recognises = "text" in model.modalities and model.encoders.recogniser is not None
    hears = "speech" in model.modalities or recognises
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            if hears:
                inputs["audio"] = gr.Audio(label="Sound", type="filepath", buttons=[], elem_classes="mer-input")
            if "visual" in model.modalities:
                webcam = gr.WebcamOptions(mirror=False)  # mirroring needs the program ffmpeg
                inputs["video"] = gr.Video(
                    label="Video, and its sound" if "audio" in inputs else "Video",
                    include_audio=True,
                    webcam_options=webcam,
                    buttons=[],
                    elem_classes="mer-input",
                )
            if "text" in model.modalities:
                hint = ", or nothing: then it is recognised from the sound" if recognises else ""
                inputs["text"] = gr.Textbox(label="Text", placeholder=f"What is said{hint}", lines=2, max_lines=8)
            with gr.Row():
                clear = gr.Button("Clear", min_width=100)
                predict = gr.Button("Predict", variant="primary", min_width=100)
        with gr.Column(scale=3, min_width=300):
            panel = _html(EMPTY, html_template=LIVE_REGION)

    def answer(*values: str | None) -> str:
        entries = dict(zip(inputs, values, strict=True))
        audio, text, video = (entries.get(name) or None for name in ("audio", "text", "video"))
        sound = audio or (video if hears else None)
        utterance = Input(sound, text if text and text.strip() else None, video, id="the input")
        paths = [path for path in (audio, video) if path]
        with lock:
            try:
                return explanation_html(explain(model, utterance, allow_failures=True), paths)
            except MerError as error:
                return refusal_html(str(error), paths)

    events = [predict.click, inputs["text"].submit] if "text" in inputs else [predict.click]
    gr.on(events, answer, list(inputs.values()), panel, api_visibility="private")
    clear.click(lambda: [None] * len(inputs) + [EMPTY], None, [*inputs.values(), panel], api_visibility="private")


def _live(model: Model, lock: threading.Lock) -> gr.Audio:
    """Add the microphone whose sound is answered as it goes on, and return it."""
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            microphone = gr.Audio(
                label="Microphone", sources=["microphone"], streaming=True, type="filepath", buttons=[]
            )
            _html(f'<p class="mer-faint">Each answer is about the latest {ListenConfig.window_s:g} seconds.</p>')
        with gr.Column(scale=3, min_width=300):
            panel = _html(EMPTY)
    session = gr.State(None)

    def hear(path: str | None, speech: LiveSpeech | None) -> tuple[Any, LiveSpeech | None]:
        if path is None:
            return gr.skip(), speech
        try:
            samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:  # pieces of the same content, such as silence, share a file, and it is gone
            return gr.skip(), speech
        Path(path).unlink(missing_ok=True)  # an hour of speech would leave half a gigabyte
        with lock:
            try:
                speech = speech or LiveSpeech(model)
                answer = speech.push(samples.mean(1), rate_hz)
            except MerError as error:
                return refusal_html(str(error)), speech
        return answer_html(answer, f"speech up to {answer.time_s:.1f} s") if answer else gr.skip(), speech

    microphone.stream(
        hear,
        [microphone, session],
        [panel, session],
        stream_every=LISTEN_EVERY_S,
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )
    microphone.start_recording(lambda: (EMPTY, None), None, [panel, session], api_visibility="private")
    return microphone


def _html(value: str, **options: Any) -> gr.HTML:
    """Add HTML in the style of this page."""
    return gr.HTML(value, elem_classes="mer", apply_default_css=False, **options)
