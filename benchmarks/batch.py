"""Pictures per second of `deocclude batch` against a plain loop of `deocclude run` calls, and of two shards at once.

    python benchmarks/batch.py COCO_JSON IMAGES_DIR [--pictures 12] [--threads 1] [--output table.md]

All complete the same: in each picture its largest annotated person, whose mask is given. A row is whole commands, with
their start and the loading of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from deocclude.data.coco import CocoImage, CocoInstance, read_coco
from deocclude.images import save_image

COMMAND = [sys.executable, "-m", "deocclude.cli.main"]
LOOP = "a loop of `deocclude run`"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco_json", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    chosen = largest_people(read_coco(args.coco_json, args.images))[: args.pictures]
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(chosen, args.images.resolve(), Path(folder))
    lines = [
        f"torch {torch.__version__}, {args.threads} thread(s) a process, {len(chosen)} pictures of one person each; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        "",
        "| what | seconds | pictures per second | over the loop |",
        "| --- | --- | --- | --- |",
        *(
            f"| {what} | {value:.1f} | {len(chosen) / value:.2f} | {seconds[LOOP] / value:.2f} |"
            for what, value in seconds.items()
        ),
    ]
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")


def largest_people(pictures: list[CocoImage]) -> list[tuple[CocoImage, CocoInstance]]:
    """The largest person of each picture that has one."""
    people = [(one, [each for each in one.instances if each.category == "person"]) for one in pictures]
    return [(one, max(there, key=lambda each: each.area)) for one, there in people if there]


def measure(chosen: list[tuple[CocoImage, CocoInstance]], images: Path, folder: Path) -> dict[str, float]:
    """Seconds of each way to complete these people."""
    loop = []
    for picture, person in chosen:
        mask = folder / f"{picture.id}.png"
        save_image(mask, person.mask())
        loop.append(["run", str(picture.path), "--mask", str(mask), "--output", str(folder / "loop")])
    given = folder / "people.json"
    given.write_text(json.dumps(coco_json(chosen)))
    batch = ["batch", str(given), "--images", str(images), "--masks", "coco", "--output"]
    shards = [[*batch, str(folder / "two"), "--shard", f"{index}/2"] for index in range(2)]
    return {
        LOOP: sum(timed([one]) for one in loop),
        "`deocclude batch`": timed([[*batch, str(folder / "one")]]),
        "`deocclude batch`, two shards at once": timed(shards),
        "`deocclude batch` again: all is kept": timed([[*batch, str(folder / "one")]]),
    }


def coco_json(chosen: list[tuple[CocoImage, CocoInstance]]) -> dict:
    return {
        "images": [
            {"id": picture.id, "file_name": picture.path.name, "width": picture.width, "height": picture.height}
            for picture, _ in chosen
        ],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": person.id,
                "image_id": picture.id,
                "category_id": 1,
                "bbox": [0, 0, 0, 0],
                "area": person.area,
                "iscrowd": 0,
                "segmentation": person.segmentation,
            }
            for picture, person in chosen
        ],
    }


def timed(commands: list[list[str]]) -> float:
    """Seconds until all of these, started at once, have ended well."""
    start = time.perf_counter()
    running = [subprocess.Popen([*COMMAND, *one], stdout=subprocess.DEVNULL) for one in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit("a command failed; see above")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
