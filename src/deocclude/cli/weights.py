"""`deocclude weights`: what each preset needs, and how it gets onto this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from deocclude.errors import InputError

if TYPE_CHECKING:
    from deocclude.checkpoints import Checkpoint
    from deocclude.models.foreign import Converted
    from deocclude.weight_specs import Converted as ConvertedSource
    from deocclude.weight_specs import WeightSpec

HELP = "Show what each preset needs (size, licence, whether it is here), download it, convert it."
EXAMPLE = """
deocclude weights list
deocclude weights download diffusion
deocclude weights convert dpmesh 3dpw-oc_best_ckpt.pth.tar
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what is needed, and what of it is here; asks no network")
    listing.add_argument("name", nargs="?", metavar="PRESET", help="only what this preset needs")
    download = actions.add_parser("download", help="fetch what the hub serves of a preset, and verify it")
    download.add_argument("name", metavar="PRESET", help="a preset, or one of its weights by name")
    convert = actions.add_parser("convert", help="make weights of ours out of another project's checkpoint")
    convert.add_argument(
        "kind", metavar="KIND", help="dpmesh, pix2gestalt, sdamodal, sssd (mask or content), nanodet or movenet"
    )
    convert.add_argument(
        "file", type=Path, metavar="FILE", help="the checkpoint (.ckpt, .pth, .tar, .safetensors, .json)"
    )
    convert.add_argument("--output", type=Path, metavar="FILE", help="default: where the presets look for it")
    convert.add_argument("--full", action="store_true", help="store float32, twice the size, instead of float16")
    convert.add_argument("--overwrite", action="store_true", help="replace weights that are there")


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        _list(args.name)
    elif args.action == "download":
        _download(args.name)
    else:
        _convert(args.kind, args.file, args.output, half=not args.full, overwrite=args.overwrite)
    return 0


def _list(name: str | None) -> None:
    from deocclude.files import home
    from deocclude.stages.catalogue import weight_specs
    from deocclude.stages.presets import presets, weights_of
    from deocclude.weight_specs import local_path

    specs = list(weight_specs().values()) if name is None else weights_of(name)
    here = {spec.name: local_path(spec) is not None for spec in specs}
    if name is None:
        methods = sorted(presets().items(), key=lambda item: not item[1].listed)
        needs = [
            (preset, _needs((spec.name for spec in one.weights), here))
            for preset, one in methods
            if not preset.endswith("-tiny")
        ]
        print(_table(("preset", "needs"), [*needs, ("…-tiny", "nothing: its networks are made from a seed")]))
        print()
    if specs:
        print(
            _table(
                ("weights", "what", "size", "licence", "state"), [_row(spec, here=here[spec.name]) for spec in specs]
            )
        )
    else:
        print(f"{name} needs nothing but the package")
    _print_ways([spec for spec in specs if not here[spec.name]])
    print(f"\nconverted and trained weights: {home() / 'weights'}")


def _needs(names: Iterable[str], here: dict[str, bool]) -> str:
    missing = [name for name in names if not here[name]]
    return "missing: " + ", ".join(missing) if missing else "all here"


def _row(spec: WeightSpec, *, here: bool) -> tuple[str, ...]:
    from deocclude.files import human_size
    from deocclude.weight_specs import is_verified

    state = "missing" if not here else "here" if is_verified(spec) else "here, not verified by 'download'"
    return spec.name, spec.what, human_size(spec.size), spec.licence, state


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _print_ways(missing: list[WeightSpec]) -> None:
    """How to get each of the missing weights; those of the hub in one line."""
    from deocclude.hub import Hub
    from deocclude.weight_specs import Converted, Trained, how_to_get, weights_path

    if missing:
        print("\nto get what is missing:")
    if any(isinstance(spec.source, Hub) for spec in missing):
        print("  deocclude weights download PRESET   (all that the hub serves of it; or one of the weights by name)")
    for spec in missing:
        if isinstance(spec.source, Converted):
            print(f"  {spec.name}: {how_to_get(spec)}")
    trained = {spec.name: spec.source.command for spec in missing if isinstance(spec.source, Trained)}
    for command in sorted(set(trained.values())):
        asked = ", ".join(name for name in trained if trained[name] == command)
        print(f"  {asked}: not published; train with '{command} …'")
        print(f"    and put the weights at {weights_path('NAME')}")
    for spec in missing:
        if spec.instead:
            print(f"  without {spec.name}, the body prior can be plain Stable Diffusion: {' and '.join(spec.instead)}")


def _download(name: str) -> None:
    from deocclude.files import human_size
    from deocclude.hub import Hub, check_space, download, plan_download
    from deocclude.stages.catalogue import weight_spec
    from deocclude.stages.presets import weights_of
    from deocclude.weight_specs import how_to_get, local_path

    specs = weights_of(name)
    if len(specs) == 1 and not isinstance(specs[0].source, Hub):
        raise InputError(f"{specs[0].name} is not a download: {how_to_get(specs[0])}")
    plans = [plan_download(spec.name, spec.source) for spec in specs if isinstance(spec.source, Hub)]
    check_space(plans)
    for plan in plans:
        size = f"{human_size(plan.missing_bytes)} to fetch" if plan.missing_bytes else "here already"
        licence = weight_spec(plan.name).licence
        print(f"{plan.name}: {plan.source.repo_id} at {plan.commit[:12]}, {size}; licence: {licence}")
        print(f"  verified: {download(plan)}")
    if not plans:
        print(f"{name}: nothing to download")
    _print_ways([spec for spec in specs if local_path(spec) is None])


def _convert(kind: str, path: Path, output: Path | None, *, half: bool, overwrite: bool) -> None:
    from deocclude.checkpoints import convert, open_checkpoint
    from deocclude.files import human_size
    from deocclude.stages.catalogue import weight_spec
    from deocclude.weight_specs import converted_path
    from deocclude.weights import file_sha256, save_network

    sources = _converted(kind)  # before gigabytes are read
    if len(sources) == 1:
        _check_free(output or converted_path(weight_spec(kind)), overwrite=overwrite)
    checkpoint = open_checkpoint(path)
    try:
        kind, converted = convert(sources, checkpoint.tensors)
    except ValueError as error:
        raise InputError(f"{path}: {error}; is it {kind}'s, and whole?") from error
    output = output or converted_path(weight_spec(kind))
    _check_free(output, overwrite=overwrite)
    print(f"read: {path} ({human_size(path.stat().st_size)}) {checkpoint.how}: tensors only, nothing in it was run")
    for file in checkpoint.files or (path,):
        print(f"  sha256 {_identified(sources[kind], file_sha256(file))}")
    _print_use(checkpoint, converted)
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_network(output, converted.network, converted.config, half=half, notice=converted.notice)
    except ValueError as error:
        raise InputError(f"{path}: {error}{'; try --full' if half else ''}") from error
    print(f"written: {output} ({human_size(output.stat().st_size)}, {'float16' if half else 'float32'})")
    print(f"  sha256 {file_sha256(output)}")


def _converted(kind: str) -> dict[str, ConvertedSource]:
    """The converted weights of that name, or those of the stage of that name. Raises InputError without any."""
    from deocclude.stages.catalogue import stage_specs, weight_specs
    from deocclude.weight_specs import conversion

    convertible = {name: source for name, spec in weight_specs().items() if (source := conversion(spec)) is not None}
    if kind in convertible:
        return {kind: convertible[kind]}
    stages = [spec for specs in (stage_specs("mask"), stage_specs("RGB")) if (spec := specs.get(kind)) is not None]
    found = {one.name for stage in stages for one in stage.weights} & convertible.keys()
    if not found:
        raise InputError(f"no converter '{kind}'; choose from {', '.join(convertible)}")
    return {name: convertible[name] for name in sorted(found)}


def _check_free(output: Path, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise InputError(f"{output}: there already; give another --output, or --overwrite to replace it")


def _identified(source: ConvertedSource, sha256: str) -> str:
    """The hash, and whether it is that of the file we know."""
    if source.sha256 is None:
        return sha256
    return f"{sha256}: {'this is' if sha256 == source.sha256 else 'another file than'} the {source.file} known here"


def _print_use(checkpoint: Checkpoint, converted: Converted) -> None:
    unused = len(converted.unused)
    print(f"converted: {type(converted.network).__name__} out of {len(checkpoint.tensors) - unused:,} tensors")
    if checkpoint.ignored:
        print(f"  left out, no tensors: {', '.join(checkpoint.ignored)}")
    if unused:
        print(f"  {unused:,} tensors are not needed:")
        for prefix, count in grouped(converted.unused, checkpoint.tensors):
            print(f"    {count:6,}  {prefix}")


def grouped(unused: Iterable[str], keys: Iterable[str]) -> list[tuple[str, int]]:
    """Unused keys counted under the shortest prefix below which nothing is used: `module.backbone.unet.*`."""
    unused = list(unused)
    used = {tuple(key.split(".")) for key in set(keys) - set(unused)}
    prefixes = {words[:depth] for words in used for depth in range(1, len(words) + 1)}
    groups: dict[str, int] = {}
    for key in unused:
        words = tuple(key.split("."))
        depth = next((depth for depth in range(1, len(words)) if words[:depth] not in prefixes), len(words))
        name = ".".join(words[:depth]) + (".*" if depth < len(words) else "")
        groups[name] = groups.get(name, 0) + 1
    return sorted(groups.items())
