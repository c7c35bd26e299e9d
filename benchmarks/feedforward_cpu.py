"""Time and memory of the feed-forward system on a CPU: the shipped `compact` networks against the `paper` size.

    python benchmarks/feedforward_cpu.py [--threads 2] [--repeats 15] [--output table.md]

Both sizes run interleaved in this one process on the same crop, so their ratio means something on a busy machine too.
`paper` has random weights: its time does not depend on them. The last rows time whole commands, cold start included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from deocclude import Deoccluder
from deocclude.images import save_image
from deocclude.models.feedforward.mask_completion import MASK_COMPLETION_PRESETS, MaskCompletionNetwork
from deocclude.models.feedforward.rgb_completion import RGB_COMPLETION_PRESETS, RgbCompletionNetwork
from deocclude.stages.completers.feedforward import (
    FeedforwardMaskCompleter,
    FeedforwardRgbCompleter,
    load_mask_completer,
    load_rgb_completer,
)
from deocclude.types import MaskCompletion

SIZE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    compact = both_stages("compact")
    times: dict[str, list[float]] = {"compact": [], "paper": []}
    once(compact), once(compact)
    compact_peak = peak_gigabytes()
    paper = both_stages("paper")
    once(paper)
    for _ in range(args.repeats):
        times["compact"].append(once(compact))
        times["paper"].append(once(paper))

    lines = [
        f"torch {torch.__version__}, {args.threads} threads, {SIZE} px, batch 1, warm, {args.repeats} repeats",
        "",
        "| what | minimum | median |",
        "| --- | --- | --- |",
        *(
            f"| both stages, `{name}` | {min(values) * 1000:.0f} ms | {statistics.median(values) * 1000:.0f} ms |"
            for name, values in times.items()
        ),
        f"| ratio `paper` / `compact` | {min(times['paper']) / min(times['compact']):.1f} "
        f"| {statistics.median(times['paper']) / statistics.median(times['compact']):.1f} |",
        *command_rows(),
        "",
        f"Peak memory of the process after `compact` alone: {compact_peak:.2f} GB.",
    ]
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")


def both_stages(preset: str) -> Callable[[], torch.Tensor]:
    """Stage 1 and stage 2 on one crop of a hidden person; stage 2 gets a mask of the usual size."""
    device = torch.device("cpu")
    if preset == "compact":
        complete_mask, complete_rgb = load_mask_completer(device=device), load_rgb_completer(device=device)
    else:
        torch.manual_seed(0)
        complete_mask = FeedforwardMaskCompleter(MaskCompletionNetwork(MASK_COMPLETION_PRESETS[preset]))
        complete_rgb = FeedforwardRgbCompleter(RgbCompletionNetwork(RGB_COMPLETION_PRESETS[preset]))
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    # An ellipse of 15 % of the crop, as after paper B's crop rule, a quarter of it hidden by a bar.
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    amodal = ((x / 0.22) ** 2 + (y / 0.87) ** 2 < 1)[None, None]
    modal = amodal & ((y - 0.1).abs() > 0.18)[None, None]

    def run() -> torch.Tensor:
        completion = complete_mask(image, modal)
        parts = {"modal_parsing": completion.modal_parsing, "amodal_parsing": completion.amodal_parsing}
        return complete_rgb(image, MaskCompletion(modal, amodal, amodal.float(), **parts))

    return run


def once(run: Callable[[], torch.Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def command_rows() -> list[str]:
    """The whole pipeline in this process, and whole commands in processes of their own."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (480, 360, 3), np.uint8)
    mask = np.zeros((480, 360), bool)
    mask[60:260, 120:240] = True
    deoccluder = Deoccluder.from_preset("feedforward")
    deoccluder(photo, modal_mask=mask)
    whole = [timed(lambda: deoccluder(photo, modal_mask=mask)) for _ in range(5)]
    rows = [
        f"| `Deoccluder` on a given mask, joints and paste-back included | {min(whole) * 1000:.0f} ms "
        f"| {statistics.median(whole) * 1000:.0f} ms |"
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_image(Path(folder) / "photo.png", photo)
        save_image(Path(folder) / "mask.png", mask)
        run = ["run", f"{folder}/photo.png", "--mask", f"{folder}/mask.png", "--output", f"{folder}/out", "--overwrite"]
        for name, words in (("deocclude run, cold start", run), ("deocclude --help", ["--help"])):
            command = [sys.executable, "-m", "deocclude.cli.main", *words]
            seconds = [timed(partial(subprocess.run, command, check=True, capture_output=True)) for _ in range(3)]
            rows.append(f"| `{name}` | {min(seconds):.2f} s | {statistics.median(seconds):.2f} s |")
    return rows


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
