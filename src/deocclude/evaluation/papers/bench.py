"""Our own table: every method that runs, on the same 200 people, told the same."""

from __future__ import annotations

from deocclude.evaluation.columns import MASK_TABLE, NETWORK_TABLE, PICTURE_TABLE
from deocclude.evaluation.papers.tables import Method, Row, Table

TRUE_MASKS = ("--amodal", "true")
PICTURE_ALONE = ("--modal", "predicted")


def _row(name: str, title: str, mask_stage: str, rgb_stage: str, *options: str) -> Row:
    method = Method(mask_stage=mask_stage, rgb_stage=rgb_stage, options=options)
    return Row(name=name, title=title, method=method)


BENCH = Table(
    name="bench",
    title="every method that runs without a hub, on 200 people",
    columns=(*MASK_TABLE, *PICTURE_TABLE, *NETWORK_TABLE),
    rows=(
        _row("given-copy-input", "copy the input", "copy-input", "copy-input"),
        _row("given-convex-hull", "convex hull, mean colour", "convex-hull", "mean-colour"),
        _row("given-feedforward-mean-colour", "feedforward, mean colour", "feedforward", "mean-colour"),
        _row("given-feedforward-telea", "feedforward, Telea", "feedforward", "telea"),
        _row("given-feedforward", "feedforward", "feedforward", "feedforward"),
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
        _row(
            "true-feedforward-raw",
            "feedforward, its own picture (no pasting back)",
            "feedforward",
            "feedforward",
            *TRUE_MASKS,
            "--raw",
        ),
    ),
)
"""A row's first word is what the method is told: the true modal mask, the picture alone, or both true masks."""

TOLD = {
    "given": "The true modal mask",
    "picture": "The picture alone",
    "true": "Both true masks (the RGB stage judged alone)",
}
