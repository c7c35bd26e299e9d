"""Time and memory of paper A's system: our `diffusion` preset against the paper's own setting, part by part.

    python benchmarks/diffusion.py [--device cuda] [--size full] [--repeats 3] [--output table.md]

Networks of full size have random weights: times do not depend on them. Every part is timed by itself and counted as
often as a person needs it; whole runs of the paper's setting take hours on a CPU. That setting is written plainly with
`diffusers`: float32, 200 DDIM steps with guidance, 50 steps of decoder fine-tuning, one question at a time.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deocclude.conditioning.describer import BlipVqa, Describer
from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig
from deocclude.models.diffusion.decoder_tuning import DecoderTuningConfig, tuned_picture
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetConfig
from deocclude.models.diffusion.rgb_completion import (
    Conditioning,
    ImageEncoderConfig,
    RgbDenoiser,
    RgbDenoiserConfig,
    mask_hint,
    null_conditioning,
    stacked,
)
from deocclude.models.diffusion.stable_diffusion import LATENT_SCALE, StableDiffusionConfig, make_controlnet
from deocclude.pipelines.diffusion_stages import RGB_STAGE_CONFIGS
from deocclude.pipelines.diffusion_tiny import NETWORKS as TINY
from deocclude.pipelines.diffusion_tiny import tiny_unet_config

SIZE = 256
OURS, PAPER = RGB_STAGE_CONFIGS["diffusion"], RGB_STAGE_CONFIGS["diffusion-paper"]
ANSWERS = ("a man", "black", "short", "no", "standing", *["yes"] * 4, *["no"] * 6)
"""So many of Table B's questions have follow-ups: a hat, sunglasses, upper-clothes and a skirt are worn."""


@dataclass(frozen=True)
class Part:
    """One part of a setting. count: how often a person needs it. seconds: the median of one."""

    setting: str
    name: str
    count: int
    seconds: float
    gigabytes: float


class Bench:
    """A device, a size and the settings' dtypes."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device, self.repeats = torch.device(args.device), args.repeats
        self.tiny = args.size == "tiny"
        fast = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.dtypes = {"ours": fast, "paper": torch.float32}
        self.widths = TINY if self.tiny else StableDiffusionConfig()

    def build(self, network: Callable[[], nn.Module], dtype: torch.dtype) -> Any:
        """A network with small random weights, built without the slow initialisations of its own."""
        with torch.device("meta"):
            shell = network()
        built = shell.to_empty(device=self.device)
        generator = torch.Generator(self.device).manual_seed(0)
        for value in (*built.parameters(), *built.buffers()):
            if value.is_floating_point():
                value.data.normal_(std=0.02, generator=generator).abs_()  # variances are not negative
            else:
                value.data.copy_(torch.arange(value.numel(), device=self.device).view_as(value))
        return nn.Module.to(built, dtype).requires_grad_(False).eval()

    def time(self, setting: str, name: str, count: int, run: Callable[[], Any]) -> Part:
        """Median seconds after one warm-up, and the peak memory."""
        self._reset()
        run()
        seconds = []
        for _ in range(self.repeats):
            self._wait()
            start = time.perf_counter()
            run()
            self._wait()
            seconds.append(time.perf_counter() - start)
        return Part(setting, name, count, statistics.median(seconds), self._peak())

    def _reset(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1024**3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bench = Bench(args)
    with torch.inference_mode():
        parts = [part for group in (mask_stage, words, rgb_stage) for part in group(bench)]
    text = "\n".join(table(parts, bench))
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


def mask_stage(bench: Bench) -> Iterator[Part]:
    """Prior and U_mask; both settings differ in their arithmetic alone."""
    image, modal_mask = picture(bench), masks(bench)[0]
    joints = torch.rand(1, 25, 3, device=bench.device) * SIZE
    config = PriorUNetConfig()
    if bench.tiny:
        config = tiny_unet_config(config)
    for setting, dtype in bench.dtypes.items():
        prior = bench.build(lambda: BodyPrior(BodyPriorConfig(networks=bench.widths)), dtype)
        unet = bench.build(lambda: PriorUNet(config), dtype)
        features = prior(image.to(dtype), joints)
        inputs = torch.cat([modal_mask, modal_mask], 1).to(dtype)
        yield bench.time(setting, "body prior", 1, lambda: prior(image.to(dtype), joints))  # noqa: B023
        yield bench.time(setting, "U_mask", 1, lambda: unet(inputs, features))  # noqa: B023


def words(bench: Bench) -> Iterator[Part]:
    """BLIP's answers to Table B: ours in batches, the paper's one by one. The answers are scripted, the work is not."""
    from transformers import BlipConfig, BlipForQuestionAnswering

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"encoder_hidden_size": 32 if bench.tiny else 768, **(small if bench.tiny else {})}
    vision = {"image_size": 384, **(small if bench.tiny else {})}
    config = BlipConfig(text_config=text, vision_config=vision)
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    for setting, dtype in bench.dtypes.items():
        model = bench.build(lambda: BlipForQuestionAnswering(config), dtype)
        scripted = ScriptedAnswers(BlipVqa(model, QuestionNumbers(config)), one_by_one=setting == "paper")
        describer = Describer(scripted, lambda sentence: len(sentence.split()) + 2)
        yield bench.time(setting, "words", 1, lambda: describer([photo]))  # noqa: B023


class QuestionNumbers:
    """A processor without vocabulary: the right shapes for BLIP."""

    def __init__(self, config: Any) -> None:
        self.size = config.vision_config.image_size
        self.tokenizer = self
        self.bos_token_id, self.sep_token_id, self.pad_token_id = 1, 2, 0

    def image_processor(self, images: Any, **rest: Any) -> Any:
        return _Fields(pixel_values=torch.zeros(len(images), 3, self.size, self.size))

    def __call__(self, text: Any = None, images: Any = None, **rest: Any) -> Any:
        if images is not None and text is None:
            return self.image_processor(images)
        ids = torch.ones(len(text), 12, dtype=torch.long)
        return _Fields(input_ids=ids, attention_mask=torch.ones_like(ids))

    def batch_decode(self, ids: Any, **rest: Any) -> list[str]:
        return ["yes"] * len(ids)


class _Fields(dict):
    """A dictionary whose entries are attributes too, as processors return it."""

    __getattr__ = dict.__getitem__

    def to(self, device: Any, *rest: Any) -> _Fields:
        return _Fields({name: value.to(device) for name, value in self.items()})


class ScriptedAnswers:
    """Lets the model do its work and answers from a script, so that every run asks the same questions."""

    def __init__(self, vqa: BlipVqa, *, one_by_one: bool) -> None:
        self.vqa, self.one_by_one = vqa, one_by_one

    def answer(self, images: Any, questions: Any) -> list[str]:
        if self.one_by_one:
            for image, question in zip(images, questions, strict=True):
                self.vqa.answer([image], [question])
        else:
            self.vqa.answer(images, questions)
        first = dict(zip(questions, ANSWERS, strict=False))
        return [first[question] if len(questions) == len(ANSWERS) else "plain" for question in questions]


def rgb_stage(bench: Bench) -> Iterator[Part]:
    """One denoising step with guidance, the decoder, one step of its tuning."""
    encoder = ImageEncoderConfig(width=64, layers=2, heads=1) if bench.tiny else ImageEncoderConfig()
    config = RgbDenoiserConfig(networks=bench.widths, image_encoder=encoder)
    image, (modal_mask, amodal_mask) = picture(bench), masks(bench)
    for setting, dtype in bench.dtypes.items():
        denoiser = bench.build(lambda: RgbDenoiser(config), dtype)
        controlnet = bench.build(lambda: make_controlnet(bench.widths), dtype)
        hidden = torch.randn(1, 77, bench.widths.context_dim, device=bench.device, dtype=dtype)
        latents = denoiser.condition_latents(image.to(dtype), modal_mask)
        given = Conditioning(latents, hidden[:, :1], mask_hint(amodal_mask).to(dtype), hidden)
        null = null_conditioning(given, hidden)
        noisy = torch.randn(1, 4, SIZE // 8, SIZE // 8, device=bench.device, dtype=dtype)
        count = (OURS if setting == "ours" else PAPER).sampling.steps
        if setting == "ours":
            both = stacked(null, given)
            yield bench.time(
                setting,
                "denoising step",
                count,
                lambda: denoiser.guided_noise(noisy, 500, both, 2.0, controlnet),  # noqa: B023
            )
        else:
            yield bench.time(
                setting,
                "denoising step",
                count,
                lambda: plain_step(denoiser, controlnet, noisy, given, null),  # noqa: B023
            )
        yield bench.time(setting, "decode", 1, lambda: denoiser.decode(noisy))  # noqa: B023
        if setting == "paper":
            tuning = replace(DecoderTuningConfig(), steps=1)
            target = image * 2 - 1
            one = bench.time(
                setting,
                "tuning step",
                PAPER.tuning.steps,
                lambda: plain_tuning(denoiser.vae, noisy, target, modal_mask),  # noqa: B023
            )
            yield one
            # Ours, for those who ask for it; not a part of the preset, so counted zero times.
            yield bench.time(
                "ours",
                "tuning step",
                0,
                lambda: tuned_picture(denoiser.vae, noisy, target, modal_mask, tuning),  # noqa: B023
            )


def plain_step(denoiser: RgbDenoiser, controlnet: Any, noisy: Any, given: Conditioning, null: Conditioning) -> Any:
    """The two branches one after the other, as the simplest code has it."""
    without, conditioned = (denoiser.predict_noise(noisy, 500, branch, controlnet) for branch in (null, given))
    return without + 2.0 * (conditioned - without)


def plain_tuning(vae: Any, latent: Any, image: Any, modal_mask: Any) -> None:
    """One step of Eq. 16 on the decoder, everything computed anew."""
    with torch.inference_mode(False), torch.enable_grad():
        latent, image, modal_mask = latent.clone(), image.clone(), modal_mask.clone()
        parameters = [p.detach().clone().requires_grad_(True) for p in vae.decoder.parameters()]
        names = [name for name, _ in vae.decoder.named_parameters()]
        optimizer = torch.optim.Adam(parameters, lr=1e-4)
        quantised = vae.post_quant_conv(latent / LATENT_SCALE).detach()
        picture_now = torch.func.functional_call(vae.decoder, dict(zip(names, parameters, strict=True)), (quantised,))
        hidden = ((picture_now - picture_now.detach()) * ~modal_mask).square().mean()
        visible = ((picture_now - image) * modal_mask).square().mean()
        (hidden + 100 * visible).backward()
        optimizer.step()


def picture(bench: Bench) -> torch.Tensor:
    """A crop of noise, (1, 3, SIZE, SIZE) in [0, 1]."""
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(bench.device)


def masks(bench: Bench) -> tuple[torch.Tensor, torch.Tensor]:
    """Modal and amodal mask: an ellipse, a quarter of it hidden by a bar."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    amodal = ((x / 0.22) ** 2 + (y / 0.87) ** 2 < 1)[None, None]
    return (amodal & ((y - 0.1).abs() > 0.18)).to(bench.device), amodal.to(bench.device)


def table(parts: list[Part], bench: Bench) -> Iterator[str]:
    """Each part of both settings, the sums of a person, and their ratios."""
    device = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else "CPU"
    yield (
        f"torch {torch.__version__}, {device}, {SIZE} px, batch 1, warm, median of {bench.repeats}; random weights"
        + (", MINIATURE networks" if bench.tiny else "")
    )
    yield ""
    yield "| part | ours: each × count | paper's setting: each × count | peak ours / paper |"
    yield "| --- | --- | --- | --- |"
    for name in dict.fromkeys(part.name for part in parts):
        ours, paper = (next((p for p in parts if (p.setting, p.name) == (s, name)), None) for s in ("ours", "paper"))
        yield f"| {name} | {_shown(ours)} | {_shown(paper)} | {_peak(ours)} / {_peak(paper)} |"
    for title, names in {"mask stage": ("body prior", "U_mask"), "a person": tuple(p.name for p in parts)}.items():
        sums = {
            s: sum(p.seconds * p.count for p in parts if p.setting == s and p.name in names) for s in ("ours", "paper")
        }
        ratio = sums["paper"] / sums["ours"]
        yield f"| **{title}** | {sums['ours']:.2f} s | {sums['paper']:.2f} s | ratio **{ratio:.1f}×** |"


def _shown(part: Part | None) -> str:
    return "–" if part is None else f"{part.seconds * 1000:.0f} ms × {part.count}"


def _peak(part: Part | None) -> str:
    return "–" if part is None else f"{part.gigabytes:.1f} GB"


if __name__ == "__main__":
    main()
