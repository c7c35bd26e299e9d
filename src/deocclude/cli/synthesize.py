"""`deocclude synthesize`: occluded people out of whole ones."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.cli.numbers import natural, positive
from deocclude.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from deocclude.data.occluders import OccluderBank
    from deocclude.data.occlusion_set import OcclusionSample
    from deocclude.data.pasting import RatioBin
    from deocclude.data.people import FolderPerson
    from deocclude.data.synthesis import SynthesisConfig

HELP = "Make an occlusion set: objects are pasted in front of people whose whole mask is known."
EXAMPLE = """
deocclude synthesize --people people/ --occluders instances_val2017.json --occluder-images val2017/ \\
    --output set/ --count 200 --seed 0 --bins paper --split val
deocclude synthesize --protocol ahp-val --people ahp-people/ --occluders instances_val2017.json \
    --occluder-images val2017/ --output ahp-val/
people/images/NAME.jpg has its mask at people/masks/NAME.png: 255 person, 0 background,
128 not scored (a carried bag). The same seed writes the same bytes.
"""


@dataclass(frozen=True)
class _Plan:
    """What stays the same for every sample.

    people: in the order in which they come. banks: of the first time they come, of the second, … and over again.
    bins: the ratio of each sample; None: drawn with the rest.
    """

    people: list[FolderPerson]
    banks: tuple[OccluderBank, ...]
    bins: list[RatioBin] | None
    config: SynthesisConfig
    count: int
    seed: int
    initial_masks: str
    parsing: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from deocclude.cli.config_args import add_config_arguments
    from deocclude.data.synthesis import SynthesisConfig

    people = parser.add_argument_group("whole people")
    people.add_argument("--people", type=Path, required=True, metavar="DIR", help="folder with images/ and masks/")
    people.add_argument(
        "--people-split",
        choices=("train", "val", "all"),
        default="all",
        help="only the pictures to which DIR/index.csv (columns id, split) gives this split",
    )
    occluders = parser.add_argument_group("occluders")
    occluders.add_argument("--occluders", type=Path, required=True, metavar="COCO.json", help="COCO instances file")
    occluders.add_argument("--occluder-images", type=Path, required=True, metavar="DIR", help="its pictures")
    occluders.add_argument(
        "--people-as-occluders", action="store_true", help="the people of DIR occlude each other too"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output", "-o", type=Path, required=True, metavar="SET", help="folder of the occlusion set")
    output.add_argument("--count", type=positive, metavar="N", help="how many occluded people")
    output.add_argument(
        "--protocol",
        choices=("ahp-val",),
        help="a fixed set instead of --count, --bins and --split. ahp-val, paper B's validation set: 297 people (or "
        "all there are), 3 different occluders each, a quarter of them hidden by up to 0.1, 0.1-0.2, 0.3-0.4, 0.4-0.5",
    )
    output.add_argument("--seed", type=natural, default=0, help="the same seed writes the same bytes")
    output.add_argument(
        "--initial-masks",
        choices=("none", "detector", "grown"),
        default="none",
        help="write imperfect modal masks to initial_modal/: `detector` errs as one does (mean IoU 0.775, "
        "paper B), `grown` is 5-30%% too large in one of ten (paper A)",
    )
    output.add_argument("--parsing", action="store_true", help="write parsing/ where DIR/parsing/ has one")
    output.add_argument("--image-format", choices=("png", "webp"), default="png", help="of the pictures, lossless")
    output.add_argument("--overwrite", action="store_true", help="replace a set that exists")
    add_config_arguments(parser, SynthesisConfig())


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from deocclude.data.occlusion_set import OcclusionSetWriter

    plan = _plan(args)
    failures: dict[str, int] = {}
    with OcclusionSetWriter(args.output, overwrite=args.overwrite, image_format=args.image_format) as writer:
        for index in tqdm(range(plan.count), desc="synthesize", unit="person", disable=None):
            try:
                sample = _make(plan, index)
            except InputError as error:
                failures[str(error)] = failures.get(str(error), 0) + 1
            else:
                writer.write(sample)
        if not writer.rows:
            raise InputError(f"nobody could be occluded; {next(iter(failures))}")
    return _report(failures, len(writer.rows), args.output)


def _plan(args: argparse.Namespace) -> _Plan:
    import numpy as np

    from deocclude.cli.config_args import config_from_arguments
    from deocclude.data.occluders import OccluderBank
    from deocclude.data.people import read_people
    from deocclude.data.protocols import PROTOCOLS, even_bins
    from deocclude.data.synthesis import SynthesisConfig

    _check_choice(args)
    config = config_from_arguments(args, SynthesisConfig())
    people = read_people(args.people, args.people_split)
    bank = OccluderBank.from_coco(args.occluders, args.occluder_images)
    if args.people_as_occluders:
        bank = bank + OccluderBank.from_people(people)
    people = [people[index] for index in np.random.default_rng(args.seed).permutation(len(people))]
    banks: tuple[OccluderBank, ...] = (bank,)
    bins, count = None, args.count
    if args.protocol is not None:
        protocol = PROTOCOLS[args.protocol]
        people, config, banks = people[: protocol.max_people], protocol.configured(config), protocol.banks(bank)
        count = len(people) * protocol.num_occluders
        bins = even_bins(config, count, args.seed)
    return _Plan(people, banks, bins, config, count, args.seed, args.initial_masks, args.parsing)


def _check_choice(args: argparse.Namespace) -> None:
    if args.protocol is None and args.count is None:
        raise InputError("how many? give --count N, or --protocol ahp-val")
    said = [name for name in ("count", "bins", "split") if getattr(args, name, None) is not None]
    if args.protocol is not None and said:
        raise InputError(f"--protocol {args.protocol} says it already; leave --{said[0]} out")


def _make(plan: _Plan, index: int) -> OcclusionSample:
    """Sample `index`, a function of plan and index alone. Everyone comes once before anyone comes twice."""
    import numpy as np

    from deocclude.data.synthesis import synthesize

    time, number = divmod(index, len(plan.people))
    person = plan.people[number]
    photograph = person.load()
    rng = np.random.default_rng((plan.seed, index))
    try:
        made = synthesize(
            photograph,
            plan.banks[time % len(plan.banks)],
            plan.config,
            rng,
            id=f"{person.id}_{time}",
            person_id=person.id,
            bin=None if plan.bins is None else plan.bins[index],
        )
    except InputError as error:
        raise InputError(f"{person.image_path}: {error}") from error
    sample = replace(made.sample, row={**made.sample.row, "person": person.id})
    # Its own stream: asking for these masks changes nothing else.
    rng = np.random.default_rng((plan.seed, index, 1))
    initial = _initial_modal(plan.initial_masks, sample.modal, made.occluder_mask, rng)
    return replace(sample, initial_modal=initial, parsing=sample.parsing if plan.parsing else None)


def _initial_modal(
    kind: str, modal: np.ndarray, occluder_mask: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    from deocclude.data.imperfect_masks import grow_boundary, simulate_detector_mask

    if kind == "detector":
        return simulate_detector_mask(modal, rng, occluder=occluder_mask)
    return grow_boundary(modal, rng) if kind == "grown" else None


def _report(failures: dict[str, int], written: int, output: Path) -> int:
    for sentence, times in failures.items():
        print(f"deocclude: error: {sentence}" + (f" ({times} times)" if times > 1 else ""), file=sys.stderr)
    print(f"{written} occluded people in {output}" + (f"; {sum(failures.values())} left out" if failures else ""))
    return 2 if failures else 0
