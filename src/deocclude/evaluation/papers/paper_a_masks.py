"""Paper A's tables of masks: 1, 3, C to G, L and N."""

from __future__ import annotations

from dataclasses import replace

from deocclude.evaluation.papers.tables import (
    AHP_REAL,
    AHP_SYN,
    COCOA_40,
    FLOOR,
    RAW,
    TRAINED,
    Curve,
    Figures,
    Method,
    Row,
    Table,
)

COLUMNS = ("iou", "invisible_iou", "mask_l1")
JUDGED = (("invisible_iou", "invisible_iou"),)
U_MASK = Method(preset="mask-4", options=RAW, weights=("mask-4",))
TRAINED_U_MASK = Method(preset="mask-4", mask_stage=TRAINED, options=RAW, weights=("dpmesh", "vitpose"))


def _masks(iou: float, invisible_iou: float, mask_l1: float) -> Figures:
    """As printed: the first two in per cent."""
    return {"iou": round(iou / 100, 4), "invisible_iou": round(invisible_iou / 100, 4), "mask_l1": mask_l1}


SSSD_MASK = Method(mask_stage="sssd", rgb_stage="copy-input", options=RAW, weights=("sssd-mask",))


def _stage(name: str) -> Method:
    return Method(mask_stage=name, rgb_stage="copy-input", options=RAW, weights=(name,))


def _real(
    name: str,
    title: str,
    figures: tuple[float, float, float],
    *training: str,
    x: float | None = None,
    test: tuple[str, ...] = (),
) -> Row:
    """A row of AHP real that is U_mask trained with these options, and tested with those of `test`."""
    options = "mask-completion", "--family", "diffusion", *training
    method = replace(TRAINED_U_MASK, options=(*RAW, *test))
    return Row(name=name, title=title, paper={AHP_REAL: _masks(*figures)}, method=method, training=options, x=x)


REFINED = ("--modal", "predicted", "--refine-modal")
HUMAN_DO = Method(
    mask_stage="feedforward-paper",
    rgb_stage="copy-input",
    options=(*RAW, *REFINED),
    weights=("mask-completion-paper",),
)
"""Paper B finds the person and refines the mask itself, as its own figures in the table have it."""

TABLE_1 = Table(
    name="a-table-1",
    title="mask completion, other methods",
    columns=COLUMNS,
    rows=(
        Row(
            name="sssd",
            title="SSSD (PCNet-M) †",
            paper={AHP_REAL: _masks(81.3, 31.2, 0.222), AHP_SYN: _masks(83.1, 29.1, 0.196)},
            method=SSSD_MASK,
        ),
        Row(
            name="human-do",
            title="Human DO (paper B) †",
            paper={AHP_REAL: _masks(86.1, 40.3, 0.164), AHP_SYN: _masks(84.6, 43.7, 0.150)},
            method=HUMAN_DO,
        ),
        Row(
            name="amodal",
            title="amodal (progressive)",
            paper={AHP_REAL: _masks(85.1, 57.1, 0.148), AHP_SYN: _masks(77.4, 40.2, 0.333)},
            method=_stage("amodal"),
        ),
        Row(
            name="pix2gestalt",
            title="pix2gestalt",
            paper={AHP_REAL: _masks(90.0, 54.8, 0.101), AHP_SYN: _masks(91.9, 65.6, 0.108)},
            method=_stage("pix2gestalt"),
        ),
        Row(
            name="sdamodal",
            title="SDAmodal",
            paper={AHP_REAL: _masks(91.6, 56.1, 0.087), AHP_SYN: _masks(92.3, 65.5, 0.109)},
            method=_stage("sdamodal"),
        ),
        Row(
            name="diffusion",
            title="paper A",
            paper={AHP_REAL: _masks(93.5, 65.1, 0.070), AHP_SYN: _masks(92.6, 67.1, 0.105)},
            method=U_MASK,
        ),
        *FLOOR,
    ),
    note="† paper B's figures: its network gets a detector's mask and refines it; the others get the true modal mask",
)

TABLE_3 = Table(
    name="a-table-3",
    title="mask completion, what each input adds",
    columns=COLUMNS,
    rows=tuple(
        Row(
            name=f"mask-{number}",
            title=f"#{number} {title}",
            paper={AHP_REAL: _masks(*figures)},
            method=Method(preset=f"mask-{number}", options=RAW, weights=(f"mask-{number}",)),
        )
        for number, title, figures in (
            (1, "modal mask alone", (92.3, 58.8, 0.077)),
            (2, "+ F, T", (92.4, 60.3, 0.082)),
            (3, "+ H_o", (92.8, 62.2, 0.076)),
            (4, "+ J_sub", (93.5, 65.1, 0.070)),
        )
    ),
    judged_by=JUDGED,
    note=(
        "by the figures of Tables C, E and G the paper trained #2 and #3 with cross-entropy and #4 with BCE; "
        "ours have BCE throughout"
    ),
)

_CE = ("--mask-loss", "ce")
TABLE_C = Table(
    name="a-table-C",
    title="σ2, width of the occluded-joint heatmap",
    columns=COLUMNS,
    rows=(
        _real("0", "σ2 = 0 (no H_o)", (92.4, 60.3, 0.082), "--design", "mask-2", *_CE, x=0),
        *(
            _real(f"{x}", f"σ2 = {x}", figures, "--joint-sigma", f"{x}", "--sub-joints", "7", *_CE, x=x)
            for x, figures in (
                (4, (93.0, 62.7, 0.074)),
                (8, (93.2, 64.1, 0.073)),
                (16, (92.9, 63.3, 0.076)),
                (32, (92.9, 62.6, 0.075)),
            )
        ),
    ),
    judged_by=JUDGED,
    curve=Curve(label="σ2, pixels of a 256-pixel crop", paper_column="invisible_iou", our_column="invisible_iou"),
)

TABLE_D = Table(
    name="a-table-D",
    title="σ1, width of the prior's heatmaps",
    columns=COLUMNS,
    rows=tuple(
        _real(f"{x:g}", f"σ1 = {x:g}", figures, "--heatmap-sigma", f"{x:g}", "--sub-joints", "7", *_CE, x=x)
        for x, figures in (
            (1, (92.9, 62.2, 0.078)),
            (2.5, (93.2, 64.1, 0.073)),
            (5, (93.1, 63.3, 0.074)),
            (10, (92.8, 62.4, 0.078)),
        )
    ),
    judged_by=JUDGED,
    curve=Curve(label="σ1, pixels of the 32-pixel latent", paper_column="invisible_iou", our_column="invisible_iou"),
)

TABLE_E = Table(
    name="a-table-E",
    title="s, joints between each pair",
    columns=COLUMNS,
    rows=tuple(
        _real(f"{x}", f"s = {x}", figures, "--sub-joints", f"{x}", *_CE, x=x)
        for x, figures in (
            (0, (92.8, 62.2, 0.076)),
            (1, (92.9, 62.7, 0.076)),
            (3, (93.1, 63.2, 0.074)),
            (5, (93.4, 64.4, 0.071)),
            (7, (93.2, 64.1, 0.073)),
            (9, (93.4, 64.9, 0.070)),
            (11, (93.1, 63.2, 0.075)),
            (13, (93.0, 62.8, 0.075)),
        )
    ),
    judged_by=JUDGED,
    curve=Curve(label="s, joints between each pair", paper_column="invisible_iou", our_column="invisible_iou"),
)

TABLE_F = Table(
    name="a-table-F",
    title="how joints are drawn",
    columns=COLUMNS,
    rows=(
        _real("occluded-mask", "occluded joint mask", (93.0, 62.9, 0.074), "--joint-input", "occluded-mask", *_CE),
        _real("whole-heatmap", "whole joint heatmap", (93.2, 63.9, 0.073), "--joint-input", "whole-heatmap", *_CE),
        _real("occluded-heatmap", "occluded joint heatmap", (93.4, 64.9, 0.070), *_CE),
    ),
    judged_by=JUDGED,
)

TABLE_G = Table(
    name="a-table-G",
    title="loss and optimiser",
    columns=COLUMNS,
    rows=tuple(
        Row(
            name=f"{loss}-{optimizer}",
            title=f"{loss.upper()} + {optimizer.upper() if optimizer == 'sgd' else 'Adam'}",
            paper={AHP_REAL: _masks(*real), AHP_SYN: _masks(*syn)},
            method=TRAINED_U_MASK,
            training=(
                "mask-completion", "--family", "diffusion", "--mask-loss", loss, "--optimizer", optimizer,
            ),
        )
        for loss, optimizer, real, syn in (
            ("bce", "sgd", (93.5, 65.1, 0.070), (92.6, 67.1, 0.105)),
            ("ce", "sgd", (93.4, 64.9, 0.070), (92.2, 66.0, 0.111)),
            ("bce", "adam", (91.9, 59.7, 0.086), (91.0, 63.1, 0.131)),
            ("ce", "adam", (91.8, 59.8, 0.089), (90.9, 62.6, 0.133)),
        )
    ),
    judged_by=JUDGED,
)  # fmt: skip

GROWN = ("--modal", "grown")
TABLE_L = Table(
    name="a-table-L",
    title="training with inaccurate modal masks, tested on masks grown by 5 to 30 %",
    columns=COLUMNS,
    rows=(
        _real("accurate", "accurate masks alone", (90.2, 54.4, 0.109), "--inaccurate-masks", "0", test=GROWN),
        _real(
            "accurate-inaccurate",
            "accurate and inaccurate",
            (92.1, 61.5, 0.086),
            "--inaccurate-masks",
            "0.1",
            test=GROWN,
        ),
    ),
    judged_by=JUDGED,
)

TABLE_N = Table(
    name="a-table-N",
    title="in the wild, 40 people of COCOA",
    columns=COLUMNS,
    rows=(
        Row(
            name="pix2gestalt",
            title="pix2gestalt",
            paper={COCOA_40: _masks(82.5, 57.1, 0.448)},
            method=_stage("pix2gestalt"),
        ),
        Row(name="sdamodal", title="SDAmodal", paper={COCOA_40: _masks(81.0, 61.6, 0.412)}, method=_stage("sdamodal")),
        Row(name="diffusion", title="paper A", paper={COCOA_40: _masks(83.4, 64.1, 0.347)}, method=U_MASK),
        *FLOOR,
    ),
)

MASK_TABLES = (TABLE_1, TABLE_3, TABLE_C, TABLE_D, TABLE_E, TABLE_F, TABLE_G, TABLE_L, TABLE_N)
