"""Our own table: every method that runs, on the same 200 pictures, told the same."""

from __future__ import annotations

from dataclasses import replace

from deocclude.evaluation.columns import MASK_TABLE, NETWORK_TABLE, PICTURE_TABLE
from deocclude.evaluation.papers.tables import RAW, Method, Row, Table

TRUE_MASKS = ("--amodal", "true")
PICTURE_ALONE = ("--modal", "predicted")


def _row(name: str, title: str, mask_stage: str, rgb_stage: str, *options: str, weights: tuple[str, ...] = ()) -> Row:
    method = Method(mask_stage=mask_stage, rgb_stage=rgb_stage, options=options, weights=weights)
    return Row(name=name, title=title, method=method)


_DIFFUSION = Method(preset="diffusion", weights=("diffusion",))
_BOTH_STAGES = {
    "feedforward-paper": "paper B at its own size",
    "sssd": "SSSD",
    "pix2gestalt": "pix2gestalt",
    "amodal": "amodal (progressive)",
}
_RGB_STAGES = {"lama": "LaMa", "sd-inpaint": "Stable Diffusion 1.5 inpainting", "flux2-klein": "FLUX.2 [klein] 4B"}
_FETCHED = (
    *(_row(f"given-{name}", title, name, name, weights=(name,)) for name, title in _BOTH_STAGES.items()),
    _row("given-sdamodal", "SDAmodal, mean colour", "sdamodal", "mean-colour", weights=("sdamodal",)),
    Row(name="given-diffusion", title="paper A", method=_DIFFUSION),
    *(
        _row(f"true-{name}", title, "copy-input", name, *TRUE_MASKS, weights=(name,))
        for name, title in {**_BOTH_STAGES, **_RGB_STAGES}.items()
    ),
    Row(
        name="true-diffusion",
        title="paper A",
        method=replace(_DIFFUSION, mask_stage="copy-input", options=TRUE_MASKS),
    ),
)
"""Methods whose weights a user has to fetch or train."""


BENCH = Table(
    name="bench",
    title="every method, on the same 200 pictures",
    columns=(*MASK_TABLE, *PICTURE_TABLE, *NETWORK_TABLE),
    rows=(
        _row("given-copy-input", "copy the input", "copy-input", "copy-input"),
        _row("given-convex-hull", "convex hull, mean colour", "convex-hull", "mean-colour"),
        _row("given-convex-hull-raw", "convex hull, mean colour (--raw)", "convex-hull", "mean-colour", *RAW),
        _row("given-feedforward-mean-colour", "feedforward, mean colour", "feedforward", "mean-colour"),
        _row("given-feedforward-telea", "feedforward, Telea", "feedforward", "telea"),
        _row("given-feedforward", "feedforward", "feedforward", "feedforward"),
        _row("given-feedforward-raw", "feedforward (--raw)", "feedforward", "feedforward", *RAW),
        _row("picture-copy-input", "segmenter, copy the input", "copy-input", "copy-input", *PICTURE_ALONE),
        _row(
            "picture-convex-hull", "segmenter, convex hull, mean colour", "convex-hull", "mean-colour", *PICTURE_ALONE
        ),
        _row("picture-feedforward", "feedforward", "feedforward", "feedforward", *PICTURE_ALONE),
        _row(
            "picture-feedforward-refined",
            "feedforward, stage 1's modal mask",
            "feedforward",
            "feedforward",
            *PICTURE_ALONE,
            "--refine-modal",
        ),
        _row("true-copy-input", "copy the input", "copy-input", "copy-input", *TRUE_MASKS),
        _row("true-mean-colour", "mean colour", "copy-input", "mean-colour", *TRUE_MASKS),
        _row("true-telea", "Telea, from the person", "copy-input", "telea", *TRUE_MASKS),
        _row("true-telea-whole-picture", "Telea, from all known", "copy-input", "telea-whole-picture", *TRUE_MASKS),
        _row(
            "true-navier-stokes-whole-picture",
            "Navier-Stokes, from all known",
            "copy-input",
            "navier-stokes-whole-picture",
            *TRUE_MASKS,
        ),
        _row("true-navier-stokes", "Navier-Stokes, from the person", "copy-input", "navier-stokes", *TRUE_MASKS),
        _row("true-feedforward", "feedforward", "feedforward", "feedforward", *TRUE_MASKS),
        _row("true-feedforward-raw", "feedforward (--raw)", "feedforward", "feedforward", *TRUE_MASKS, *RAW),
        *_FETCHED,
    ),
)
"""A row's first word is what the method is told: the true modal mask, the picture alone, or both true masks."""

TOLD = {
    "given": "The true modal mask",
    "picture": "The picture alone",
    "true": "Both true masks (the RGB stage judged alone)",
}
