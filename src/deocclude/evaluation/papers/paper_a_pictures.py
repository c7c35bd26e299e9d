"""Paper A's tables of pictures: 2, 4, 5, H to K, and M."""

from __future__ import annotations

from dataclasses import replace

from deocclude.evaluation.papers.paper_a_masks import HUMAN_DO, TABLE_1
from deocclude.evaluation.papers.tables import (
    AHP_REAL,
    AHP_SYN,
    FLOOR,
    KID,
    RAW,
    THUMAN,
    Curve,
    Figures,
    Method,
    Row,
    Table,
)

COLUMNS = ("rgb_l1", "fid_inception_v3", *KID, "lpips_alexnet", "psnr")
HUMAN_DO_PICTURES = replace(HUMAN_DO, rgb_stage="feedforward-paper", weights=("feedforward-paper",))


def _pictures(l1: float, fid: float, lpips: float | None = None, psnr: float | None = None) -> Figures:
    """As printed: LPIPS times 1000."""
    figures = {"rgb_l1": l1, "fid_inception_v3": fid}
    if lpips is not None and psnr is not None:
        figures |= {"lpips_alexnet": lpips / 1000, "psnr": psnr}
    return figures


def _preset(name: str, *options: str) -> Method:
    return Method(preset=name, options=(*RAW, *options), weights=(name,))


def _stages(name: str) -> Method:
    return Method(mask_stage=name, rgb_stage=name, options=RAW, weights=(name,))


TABLE_2 = Table(
    name="a-table-2",
    title="RGB completion, other methods",
    columns=COLUMNS,
    rows=(
        Row(
            name="sssd",
            title="SSSD (PCNet-C) †",
            paper={AHP_REAL: _pictures(0.0911, 28.30), AHP_SYN: _pictures(0.0936, 18.50)},
            method=_stages("sssd"),
        ),
        Row(
            name="human-do",
            title="Human DO (paper B) †",
            paper={AHP_REAL: _pictures(0.0617, 19.49), AHP_SYN: _pictures(0.0519, 13.85)},
            method=HUMAN_DO_PICTURES,
        ),
        Row(
            name="amodal",
            title="amodal (progressive)",
            paper={
                AHP_REAL: _pictures(0.0197, 16.83, 56.24, 21.13),
                AHP_SYN: _pictures(0.0232, 13.59, 72.11, 19.74),
            },
            method=_stages("amodal"),
        ),
        Row(
            name="pix2gestalt",
            title="pix2gestalt",
            paper={
                AHP_REAL: _pictures(0.0100, 10.34, 47.73, 25.88),
                AHP_SYN: _pictures(0.0124, 10.03, 51.76, 25.18),
            },
            method=_stages("pix2gestalt"),
        ),
        Row(
            name="diffusion",
            title="paper A",
            paper={AHP_REAL: _pictures(0.0062, 8.26, 37.63, 29.13), AHP_SYN: _pictures(0.0072, 5.46, 27.86, 28.36)},
            method=_preset("diffusion-paper"),
        ),
        *FLOOR,
    ),
    note=f"{TABLE_1.note}; of LPIPS the paper names no network",
)

TABLE_4 = Table(
    name="a-table-4",
    title="RGB completion, what each part adds",
    columns=COLUMNS,
    rows=tuple(
        Row(
            name=f"rgb-{number}",
            title=f"#{number} {title}",
            paper={AHP_REAL: _pictures(*figures)},
            method=_preset(f"rgb-{number}"),
        )
        for number, title, figures in (
            (5, "neither f_c2 nor f_hs", (0.0100, 10.34, 47.73, 25.88)),
            (6, "+ f_c2", (0.0099, 10.85, 47.64, 25.92)),
            (7, "+ f_hs", (0.0096, 9.86, 47.27, 26.27)),
            (8, "+ decoder fine-tuning", (0.0062, 8.26, 37.63, 29.13)),
        )
    ),
    judged_by=(("rgb_l1", "rgb_l1"),),
)

_TWO_STAGES: Figures = {"iou": 0.926, "invisible_iou": 0.671, "mask_l1": 0.105}
TABLE_5 = Table(
    name="a-table-5",
    title="one stage or two",
    columns=("iou", "invisible_iou", "mask_l1", *COLUMNS),
    rows=tuple(
        Row(name=name, title=title, paper={AHP_SYN: {**masks, **_pictures(*figures)}}, method=_preset(name))
        for name, title, masks, figures in (
            (
                "one-stage",
                "one stage",
                {"iou": 0.903, "invisible_iou": 0.583, "mask_l1": 0.141},
                (0.0084, 8.23, 35.74, 28.16),
            ),
            ("two-stage-unet", "two stages, U_rgb, f_lw", _TWO_STAGES, (0.0080, 7.92, 32.51, 28.35)),
            ("rgb-image", "two stages, f_lw", _TWO_STAGES, (0.0073, 5.92, 27.89, 28.30)),
            ("diffusion-paper", "two stages, f_hs", _TWO_STAGES, (0.0072, 5.46, 27.86, 28.36)),
        )
    ),
    judged_by=(("rgb_l1", "rgb_l1"),),
)

_STEPS = (0, 10, 30, 50, 70, 100, 150, 200)


def _steps_table(
    name: str,
    title: str,
    columns: tuple[str, ...],
    printed: tuple[tuple[float, ...], ...],
) -> Table:
    """printed: the paper's figures of each column at each number of steps, L1, LPIPS and MSE times 1000."""
    rows = tuple(
        Row(
            name=f"{steps}",
            title=f"{steps} steps",
            paper={
                AHP_REAL: {
                    column: values[place] / (1000 if column.startswith(("rgb_", "lpips")) else 1)
                    for column, values in zip(columns, printed, strict=True)
                }
            },
            method=_preset("diffusion-paper", "--decoder-tuning-steps", f"{steps}"),
            x=steps,
        )
        for place, steps in enumerate(_STEPS)
    )
    first = columns[0]
    return Table(
        name=name,
        title=title,
        columns=(*columns, *(KID if "fid_inception_v3" in columns else ())),
        rows=rows,
        judged_by=((first, first),),
        curve=Curve(label="steps of decoder fine-tuning", paper_column=first, our_column=first),
        runs_of="" if name == "a-table-H" else "a-table-H",
    )


TABLE_H = _steps_table(
    "a-table-H",
    "decoder fine-tuning, the whole picture",
    ("rgb_l1", "fid_inception_v3", "lpips_alexnet", "psnr", "rgb_mse"),
    (
        (9.58, 6.99, 6.29, 6.15, 6.15, 6.16, 6.18, 6.20),
        (9.86, 14.30, 9.75, 8.26, 7.94, 7.50, 7.20, 7.46),
        (47.27, 49.39, 40.94, 37.63, 36.07, 35.08, 34.43, 34.12),
        (26.27, 29.02, 29.33, 29.13, 28.92, 28.76, 28.63, 28.55),
        (2.98, 1.89, 1.84, 1.91, 1.96, 2.00, 2.04, 2.06),
    ),
)
TABLE_I = _steps_table(
    "a-table-I",
    "decoder fine-tuning, the invisible region's share",
    ("rgb_l1_invisible", "rgb_mse_invisible"),
    (
        (3.28, 2.86, 2.98, 3.10, 3.16, 3.18, 3.19, 3.21),
        (1.73, 1.37, 1.49, 1.58, 1.63, 1.66, 1.68, 1.69),
    ),
)
TABLE_J = _steps_table(
    "a-table-J",
    "decoder fine-tuning, the visible region's share",
    ("rgb_l1_visible", "rgb_mse_visible"),
    (
        (6.29, 4.13, 3.30, 3.06, 2.99, 2.98, 2.98, 2.99),
        (1.24, 0.52, 0.36, 0.33, 0.33, 0.34, 0.36, 0.37),
    ),
)

TABLE_K = Table(
    name="a-table-K",
    title="words of a VQA model, or always the same",
    columns=COLUMNS,
    rows=(
        Row(
            name="generic",
            title='"a photo of a human"',
            paper={AHP_SYN: _pictures(0.00767, 6.61, 29.14, 27.99)},
            method=_preset("rgb-generic"),
        ),
        Row(
            name="vqa",
            title="VQA",
            paper={AHP_SYN: _pictures(0.00718, 5.46, 27.86, 28.36)},
            method=_preset("diffusion-paper"),
        ),
    ),
    judged_by=(("rgb_l1", "rgb_l1"),),
)

M_COLUMNS = ("p2s", "chamfer", "normal", "texture_mse", "texture_lpips")
TABLE_M = Table(
    name="a-table-M",
    title="clothed 3D reconstruction by PIFu, before and after",
    columns=M_COLUMNS,
    rows=tuple(
        Row(name=name, title=title, paper={THUMAN: dict(zip(M_COLUMNS, figures, strict=True))})
        for name, title, figures in (
            ("occluded", "occluded picture", (21.54, 22.40, 0.523, 0.401, 0.325)),
            ("deoccluded", "de-occluded picture", (10.95, 10.81, 0.318, 0.247, 0.216)),
            ("whole", "true picture", (9.32, 9.36, 0.276, 0.203, 0.198)),
        )
    ),
)

PICTURE_TABLES = (TABLE_2, TABLE_4, TABLE_5, TABLE_H, TABLE_I, TABLE_J, TABLE_K, TABLE_M)
