"""Draws docs/diagrams/pipeline.svg: python docs/diagrams/pipeline.py docs/diagrams/pipeline.svg (make diagrams)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

WIDTH, HEIGHT = 1264, 372
PANEL = 196
"""Side of a panel; what is shown in it is drawn in its own pixels, from (0, 0) to (PANEL, PANEL)."""
GAP, LEFT, TOP = 60, 22, 76

INK, FAINT, ACCENT = "#1f2937", "#6b7280", "#4f46e5"
NIGHT, INVENTED = "#111827", "#f59e0b"
SKIN, HAIR, SHIRT, TROUSERS, SHOES = "#f2b694", "#5b3a29", "#4f7cff", "#35426b", "#23283a"

STEPS = (
    ("Photograph", "any size"),
    ("Modal mask", "the visible part"),
    ("Amodal mask", "the whole person"),
    ("Completed image", "visible pixels unchanged"),
    ("Layers and files", "PNG · OpenRaster · COCO"),
)
ARROWS = ("find", "stage 1", "stage 2", "export")
NOTES = (
    ("", ""),
    ("detector and segmenter,", "or a mask, box or point of yours"),
    ("feed-forward network,", "diffusion prior, or another method"),
    ("feed-forward network,", "Stable Diffusion, or another method"),
    ("command · page · Python ·", "ComfyUI · HTTP API"),
)


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One SVG element; `stroke_width` becomes stroke-width."""
    words = "".join(f' {name.strip("_").replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f"<{tag}{words}>{content}</{tag}>" if content else f"<{tag}{words}/>"


def text(x: float, y: float, words: str, *, size: float, fill: str = INK, weight: int = 400) -> str:
    return element("text", words, x=x, y=y, font_size=size, font_weight=weight, fill=fill, text_anchor="middle")


def moved(x: float, y: float, content: str) -> str:
    return element("g", content, transform=f"translate({x} {y})")


def person(one_colour: str = "") -> str:
    """A standing person with one arm raised; in her own colours, or as a silhouette."""

    def limb(points: str, width: int, colour: str) -> str:
        line = {"fill": "none", "stroke_linecap": "round", "stroke_linejoin": "round"}
        return element("path", d=points, stroke=one_colour or colour, stroke_width=width, **line)

    def shape(points: str, colour: str) -> str:
        return element("path", d=points, fill=one_colour or colour)

    return (
        limb("M92 118 L86 172", 17, TROUSERS)
        + limb("M108 118 L116 172", 17, TROUSERS)
        + limb("M85 180 L78 181", 9, SHOES)
        + limb("M117 180 L124 181", 9, SHOES)
        + limb("M120 74 L138 96 L156 74", 12, SKIN)
        + limb("M80 74 L68 100 L64 122", 12, SKIN)
        + shape("M78 68 Q100 58 122 68 L117 126 Q100 132 83 126 Z", SHIRT)
        + limb("M100 50 L100 62", 12, SKIN)
        + element("circle", cx=100, cy=40, r=17, fill=one_colour or SKIN)
        + shape("M82 42 Q80 20 100 20 Q121 20 118 43 Q112 32 100 33 Q88 33 82 42 Z", HAIR)
    )


BUSH = ((48, 138, 24), (74, 124, 25), (100, 136, 24), (60, 164, 31), (94, 166, 30), (30, 170, 24), (114, 170, 25))
"""Circles (x, y, radius) of what stands in front of her."""
LEAVES = ("#2f8f5b", "#3aa76d", "#2f8f5b", "#37a068", "#2b8353", "#3aa76d", "#37a068")


def bush(one_colour: str = "") -> str:
    circles = zip(BUSH, LEAVES, strict=True)
    return "".join(element("circle", cx=x, cy=y, r=r, fill=one_colour or leaf) for (x, y, r), leaf in circles)


def backdrop() -> str:
    return (
        element("rect", width=PANEL, height=PANEL, fill="url(#sky)")
        + element("circle", cx=160, cy=36, r=15, fill="#fde68a")
        + element("path", d="M0 132 Q52 96 104 128 T196 116 V196 H0 Z", fill="#b7d7b0")
        + element("path", d="M0 156 Q98 142 196 158 V196 H0 Z", fill="#d9c9a3")
    )


def behind_the_bush(content: str) -> str:
    """`content` where the bush hides it."""
    return element("g", content, clip_path="url(#bush)")


def photograph() -> str:
    return backdrop() + person() + bush()


def modal_mask() -> str:
    return element("rect", width=PANEL, height=PANEL, fill=NIGHT) + person("#ffffff") + bush(NIGHT)


def amodal_mask() -> str:
    night = element("rect", width=PANEL, height=PANEL, fill=NIGHT)
    return night + person("#ffffff") + behind_the_bush(person(INVENTED))


def completed() -> str:
    return backdrop() + bush() + person() + behind_the_bush(person("url(#hatch)"))


def layers() -> str:
    """Three sheets seen from the side: background, person, occluder."""
    contents = (backdrop(), person(), bush())
    sheets = []
    for place, content in enumerate(contents):
        sheet = element("rect", width=PANEL, height=PANEL, rx=8, fill="#ffffff", fill_opacity=0.12)
        edge = element("rect", width=PANEL, height=PANEL, rx=8, fill="none", stroke="#9ca3af", stroke_width=2)
        inside = element("g", content, clip_path="url(#panel)")
        sheets.append(
            element("g", sheet + inside + edge, transform=f"translate({4 + 38 * place} 46) matrix(.58 -.2 0 .76 0 0)")
        )
    return "".join(sheets)


def panel(draw: Callable[[], str]) -> str:
    """A picture with round corners and a thin edge."""
    edge = element("rect", width=PANEL, height=PANEL, rx=10, fill="none", stroke="#d1d5db", stroke_width=1.5)
    return element("g", draw(), clip_path="url(#panel)") + edge


def arrow(x: float, words: str) -> str:
    y = TOP + PANEL / 2
    line = element("path", d=f"M{x + 8} {y} H{x + GAP - 14}", stroke=ACCENT, stroke_width=3, stroke_linecap="round")
    head = element("path", d=f"M{x + GAP - 17} {y - 7} L{x + GAP - 7} {y} L{x + GAP - 17} {y + 7} Z", fill=ACCENT)
    return line + head + text(x + GAP / 2, y - 14, words, size=12, fill=ACCENT, weight=600)


def definitions() -> str:
    stops = element("stop", offset=0, stop_color="#bfdbfe") + element("stop", offset=1, stop_color="#eff6ff")
    stripe = element("path", d="M0 0 V7", stroke=INVENTED, stroke_width=4)
    return element(
        "defs",
        element("linearGradient", stops, id="sky", x1=0, y1=0, x2=0, y2=1)
        + element(
            "pattern",
            stripe,
            id="hatch",
            width=7,
            height=7,
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(45)",
        )
        + element("clipPath", element("rect", width=PANEL, height=PANEL, rx=10), id="panel")
        + element("clipPath", "".join(element("circle", cx=x, cy=y, r=r) for x, y, r in BUSH), id="bush"),
    )


def legend() -> str:
    x = LEFT + 3 * (PANEL + GAP) - 96
    swatch = element("rect", x=x, y=22, width=14, height=14, rx=3, fill=INVENTED)
    words = "the invisible part: all that is invented"
    return swatch + element("text", words, x=x + 22, y=34, font_size=13, fill=FAINT)


def pipeline() -> str:
    """The whole drawing, as text."""
    parts = [definitions(), element("rect", width=WIDTH, height=HEIGHT, rx=16, fill="#ffffff"), legend()]
    drawings = (photograph, modal_mask, amodal_mask, completed)
    for place, ((title, caption), notes) in enumerate(zip(STEPS, NOTES, strict=True)):
        x, centre = LEFT + place * (PANEL + GAP), LEFT + place * (PANEL + GAP) + PANEL / 2
        parts.append(text(centre, TOP - 14, title, size=17, weight=650))
        parts.append(moved(x, TOP, panel(drawings[place]) if place < len(drawings) else layers()))
        parts.append(text(centre, TOP + PANEL + 26, caption, size=14))
        parts += [
            text(centre, TOP + PANEL + 52 + 18 * row, note, size=12.5, fill=FAINT)
            for row, note in enumerate(notes)
            if note
        ]
        if place < len(ARROWS):
            parts.append(arrow(x + PANEL, ARROWS[place]))
    return element(
        "svg",
        "\n".join(["", *parts, ""]),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        font_family="Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
        role="img",
        aria_label="photograph, modal mask, amodal mask, completed image, layers",
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(pipeline() + "\n", "utf-8")
