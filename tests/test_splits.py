"""splits/ says who is evaluated; the data and the code must agree with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from deocclude.data.ccp import read_ccp
from deocclude.data.coco import read_coco
from deocclude.data.occlusion_set import MANIFEST, OcclusionSet
from deocclude.data.protocols import PROTOCOLS
from deocclude.data.synthesis import SynthesisConfig
from deocclude.evaluation.gallery import chosen, occluded_people
from deocclude.training.config import TrainingConfig

SPLITS = Path(__file__).resolve().parents[1] / "splits"


def split(name: str) -> dict[str, Any]:
    return json.loads((SPLITS / f"{name}.json").read_text(encoding="utf-8"))


def test_every_list_is_explained() -> None:
    page = (SPLITS / "README.md").read_text(encoding="utf-8")
    for path in SPLITS.glob("*.json"):
        content = split(path.stem)
        assert content["what"] and content["command"].startswith("deocclude ")
        assert f"`{path.name}`" in page


def test_nobody_is_on_two_lists() -> None:
    lists = split("ccp")
    everybody = [*lists["train"], *lists["kept_aside"], *lists["val"]]
    assert len(everybody) == len(set(everybody)) == 1996
    assert {id.rpartition("_")[0] for id in split("bench")["ids"]} <= set(lists["val"])


def test_the_protocol_is_the_code_s() -> None:
    protocol, content = PROTOCOLS["ahp-val"], split("ahp-val")
    assert (protocol.max_people, protocol.num_occluders) == (content["people"], content["occluders_per_person"])
    assert content["pictures"] == 891 == content["people"] * content["occluders_per_person"]
    bins = protocol.configured(SynthesisConfig()).ratio_bins
    assert [list(bin) for bin in bins] == content["occlusion_ratios"]


def test_shared_bench(shared_data: Path) -> None:
    content = split("bench")
    assert OcclusionSet(shared_data / "bench").ids == content["ids"]
    found = hashlib.sha256((shared_data / "bench" / MANIFEST).read_bytes()).hexdigest()
    assert found == content["manifest_sha256"]


def test_shared_ccp(shared_data: Path) -> None:
    content = split("ccp")
    train = [record.id for record in read_ccp(shared_data / "ccp", "train")]
    aside = TrainingConfig().validation_people
    assert (train[aside:], train[:aside]) == (content["train"], content["kept_aside"])
    assert [record.id for record in read_ccp(shared_data / "ccp", "val")] == content["val"]


def test_shared_gallery(shared_data: Path) -> None:
    content = split("coco-val-gallery")
    photos = occluded_people(read_coco(shared_data / "coco" / "instances_val.json", shared_data / "coco" / "images"))
    assert len(photos) == content["drawn_from"]
    drawn = chosen(photos, content["count"], rng=np.random.default_rng(content["seed"]))
    assert [photo.name for photo in drawn] == content["people"]
