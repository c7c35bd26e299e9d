"""Human parsing labels: the 20 classes of LIP, background included."""

LIP_LABELS = (
    "background", "hat", "hair", "glove", "sunglasses", "upper-clothes", "dress", "coat", "socks", "pants",
    "jumpsuits", "scarf", "skirt", "face", "left-arm", "right-arm", "left-leg", "right-leg", "left-shoe", "right-shoe",
)  # fmt: skip
NUM_LABELS = len(LIP_LABELS)
NUM_PARTS = NUM_LABELS - 1
"""Stage 2 drops the background: paper B's 19 body parts."""

IGNORE_LABEL = 255
"""A pixel nobody labelled."""

FLIPPED_LABELS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 14, 17, 16, 19, 18)
"""Label of each class after a horizontal flip: left and right parts change places."""
FLIPPED_PARTS = [label - 1 for label in FLIPPED_LABELS[1:]]
"""The same among the 19 parts."""
