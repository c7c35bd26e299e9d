"""Joint orders. Inside the package joints are OpenPose's BODY_25, (x, y) in pixels."""

BODY_25 = (
    "nose", "neck", "right-shoulder", "right-elbow", "right-wrist", "left-shoulder", "left-elbow", "left-wrist",
    "mid-hip", "right-hip", "right-knee", "right-ankle", "left-hip", "left-knee", "left-ankle",
    "right-eye", "left-eye", "right-ear", "left-ear",
    "left-big-toe", "left-small-toe", "left-heel", "right-big-toe", "right-small-toe", "right-heel",
)  # fmt: skip
NUM_JOINTS = len(BODY_25)


def _mirrored(name: str) -> str:
    side, _, rest = name.partition("-")
    return {"left": f"right-{rest}", "right": f"left-{rest}"}.get(side, name)


FLIPPED_JOINTS = tuple(BODY_25.index(_mirrored(name)) for name in BODY_25)
"""Index of the joint that takes each place after a horizontal flip."""

COCO_17 = (
    "nose", "left-eye", "right-eye", "left-ear", "right-ear", "left-shoulder", "right-shoulder", "left-elbow",
    "right-elbow", "left-wrist", "right-wrist", "left-hip", "right-hip", "left-knee", "right-knee",
    "left-ankle", "right-ankle",
)  # fmt: skip

DPMESH_30 = (
    "mid-hip", "left-hip", "right-hip", "torso", "left-knee", "right-knee", "spine", "left-ankle", "right-ankle",
    "chest", "left-toe", "right-toe", "neck", "left-thorax", "right-thorax", "head", "left-shoulder", "right-shoulder",
    "left-elbow", "right-elbow", "left-wrist", "right-wrist", "left-hand", "right-hand", "nose", "left-eye",
    "right-eye", "left-ear", "right-ear", "head-top",
)  # fmt: skip
"""The joints of DPMesh's heatmaps: SMPL's 24 and six of the head, under BODY_25's names where both have them."""
