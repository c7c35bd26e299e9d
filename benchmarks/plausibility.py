"""How much `plausible: false` is worth: people of an occlusion set, told the picture alone, flagged against wrong.

Wrong is a person whose amodal mask has an IoU below 0.75 with the truth.

    python benchmarks/plausibility.py bench/
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deocclude.data.occlusion_set import OcclusionSet
from deocclude.metrics.masks import overlap
from deocclude.pipelines.deoccluder import Deoccluder

WRONG_BELOW = 0.75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    args = parser.parse_args()
    deoccluder, people = Deoccluder.from_preset("feedforward"), OcclusionSet(args.set)
    flagged, ious = [], []
    for index in tqdm(range(len(people.ids))):
        person = people[index]
        result = deoccluder(person.occluded)
        flagged.append(not result.facts["plausible"])
        ious.append(overlap(result.amodal_mask, person.amodal, scored=~person.not_scored).iou)
    is_flagged, is_wrong = np.array(flagged), np.array(ious) < WRONG_BELOW
    both = int((is_flagged & is_wrong).sum())
    print(f"{len(ious)} people, {is_wrong.sum()} wrong (IoU below {WRONG_BELOW}), {is_flagged.sum()} flagged")
    print(f"precision {both / max(is_flagged.sum(), 1):.2f}, recall {both / max(is_wrong.sum(), 1):.2f}")
    for name, chosen in (("flagged", is_flagged), ("others", ~is_flagged)):
        print(f"mean IoU of the {name}: {np.array(ious)[chosen].mean():.3f}")


if __name__ == "__main__":
    main()
