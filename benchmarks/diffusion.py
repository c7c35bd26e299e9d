"""Time and memory of paper A's system: our `diffusion` preset against the paper's own setting, part by part.

    python benchmarks/diffusion.py [--device cuda] [--size full] [--repeats 3] [--output table.md]

The networks have random weights: times do not depend on them. Each setting runs in a process of its own that holds all
of its networks, so its peak memory is a person's. Ours computes in bfloat16 where the device does and goes through the
pipeline's own code; beside the sum of its parts a whole person is really completed. The paper's setting is
`benchmarks/plain_diffusion.py`; a person's time in it is the sum, each part as often as it is needed. Finding the
person and the joints is in neither.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plain_diffusion as plain
import torch
from torch import nn

from deocclude.conditioning.describer import BlipVqa, Describer
from deocclude.conditioning.sentence_encoder import MAX_TOKENS, SentenceEncoder
from deocclude.devices import fast_dtype
from deocclude.models.diffusion.body_prior import BodyPrior, BodyPriorConfig, dpmesh_joints
from deocclude.models.diffusion.decoder_tuning import DecoderTuningConfig, tuned_picture
from deocclude.models.diffusion.joint_heatmaps import joint_input
from deocclude.models.diffusion.mask_completion import PriorUNet, PriorUNetConfig
from deocclude.models.diffusion.rgb_completion import (
    ImageEncoderConfig,
    RgbDenoiser,
    RgbDenoiserConfig,
    mask_hint,
    stacked,
)
from deocclude.models.diffusion.stable_diffusion import StableDiffusionConfig, make_controlnet
from deocclude.stages.completers.diffusion import DiffusionMaskCompleter, DiffusionRgbCompleter
from deocclude.stages.completers.diffusion_tiny import NETWORKS as TINY
from deocclude.stages.completers.diffusion_tiny import WordTokenizer, tiny_unet_config
from deocclude.stages.diffusion import RGB_CONFIGS
from deocclude.types import Hints, MaskCompletion

SIZE = 256
OURS, PAPER = RGB_CONFIGS["diffusion"], RGB_CONFIGS["diffusion-paper"]
ANSWERS = ("a man", "black", "short", "no", "standing", *["yes"] * 4, *["no"] * 6)
"""So many of Table B's questions have follow-ups: a hat, sunglasses, upper-clothes and a skirt are worn."""
LONGEST_ANSWER = 3
"""Tokens. Real answers are a word or two; random weights would never stop."""
MASK_STAGE = ("body prior", "U_mask")
PERSON = "a person, really run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=["full", "tiny"], default="full")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--setting", choices=["ours", "paper"], help=argparse.SUPPRESS)  # the child processes'
    args = parser.parse_args()
    if args.setting is not None:
        torch.set_num_threads(args.threads)
        with torch.inference_mode():
            print(json.dumps(measure(args)))
        return
    settings = {}
    for setting in ("ours", "paper"):
        command = [sys.executable, __file__, *sys.argv[1:], "--setting", setting]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        settings[setting] = json.loads(done.stdout.splitlines()[-1])
        print(f"{setting}: {settings[setting]}", file=sys.stderr, flush=True)
    text = "\n".join(table(settings, args))
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One setting: seconds of each part and how often it is needed, and the peak memory of those needed, in GB."""
    bench, parts, peak = Bench(args), {}, 0.0
    for name, count, run in getattr(bench, args.setting)():
        parts[name] = (bench.seconds(run), count)
        peak = bench.peak() if count or name == PERSON else peak
    return {"parts": parts, "peak": peak, "dtype": str(bench.dtype).removeprefix("torch.")}


class Bench:
    """All networks of one setting, and its parts."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.device, self.repeats, self.tiny = torch.device(args.device), args.repeats, args.size == "tiny"
        self.dtype = fast_dtype(self.device) if args.setting == "ours" else torch.float32
        widths = TINY if self.tiny else StableDiffusionConfig()
        encoder = ImageEncoderConfig(width=64, layers=2, heads=1) if self.tiny else ImageEncoderConfig()
        unet = tiny_unet_config(PriorUNetConfig()) if self.tiny else PriorUNetConfig()
        self.prior = self.build(lambda: BodyPrior(BodyPriorConfig(networks=widths)))
        self.unet = self.build(lambda: PriorUNet(unet))
        self.denoiser = self.build(lambda: RgbDenoiser(RgbDenoiserConfig(networks=widths, image_encoder=encoder)))
        self.controlnet = self.build(lambda: make_controlnet(widths))
        self.blip, self.text = self.build(self._blip), self.build(self._text)
        # One crop, one person with a quarter hidden by a bar, joints anywhere.
        noise = torch.Generator().manual_seed(0)
        self.image = torch.rand(1, 3, SIZE, SIZE, generator=noise).to(self.device)
        self.joints = torch.rand(1, 25, 3, generator=noise).to(self.device) * SIZE
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE, device=self.device)] * 2, indexing="ij")
        self.amodal_mask = ((x / 0.22) ** 2 + (y / 0.87) ** 2 < 1)[None, None]
        self.modal_mask = self.amodal_mask & ((y - 0.1).abs() > 0.18)
        self.noisy = torch.randn(1, 4, SIZE // 8, SIZE // 8, generator=noise).to(self.device, self.dtype)

    def build(self, network: Callable[[], nn.Module]) -> Any:
        """A network with small random weights, built without the slow initialisations of its own."""
        with torch.device("meta"):
            shell = nn.Module.to(network(), self.dtype)
        built = shell.to_empty(device=self.device)
        generator = torch.Generator(self.device).manual_seed(0)
        for name, value in (*built.named_parameters(), *built.named_buffers()):
            if not value.is_floating_point():
                value.data.copy_(torch.arange(value.numel(), device=self.device).view_as(value))
            elif value.ndim > 1:
                value.data.normal_(std=0.02, generator=generator)
            else:
                value.data.fill_(float(name.endswith(("weight", "running_var"))))
        return built.requires_grad_(False).eval()

    def ours(self) -> Iterator[tuple[str, int, Callable[[], Any]]]:
        """The preset's parts, through the pipeline's code; then a whole person."""
        mask_stage = DiffusionMaskCompleter(self.unet, self.prior)
        vqa = BlipVqa(self.blip, QuestionNumbers(self.blip.config), max_new_tokens=LONGEST_ANSWER)
        rgb_stage = DiffusionRgbCompleter(
            self.denoiser,
            OURS,
            controlnet=self.controlnet,
            sentence_encoder=SentenceEncoder(self.text, WordTokenizer(self.text.config.vocab_size)),
            describer=Describer(ScriptedAnswers(vqa), lambda sentence: len(sentence.split()) + 2),
        )
        features = mask_stage.prior_features(self.image, self.joints)
        inputs = torch.cat(
            [self.modal_mask, joint_input(self.joints, self.modal_mask, self.unet.config.joint_input)], 1
        )
        yield "body prior", 1, lambda: mask_stage.prior_features(self.image, self.joints)
        yield "U_mask", 1, lambda: self.unet(inputs.to(self.dtype), features)
        completion = MaskCompletion(self.modal_mask, self.amodal_mask, self.amodal_mask.float())
        words = rgb_stage.describe(self.image)
        given, null = rgb_stage.conditioning(self.image, completion, Hints(prompt=words))
        both = stacked(null, given)
        steps, guidance = OURS.sampling.steps, OURS.sampling.guidance
        step = (self.noisy, 500, both, guidance, self.controlnet)
        yield "words", 1, lambda: rgb_stage.describe(self.image)
        yield "conditioning", 1, lambda: rgb_stage.conditioning(self.image, completion, Hints(prompt=words))
        yield "denoising step", steps, lambda: self.denoiser.guided_noise(*step)
        yield "decode", 1, lambda: self.denoiser.decode(self.noisy)

        def person() -> None:
            mask_stage(self.image, self.modal_mask, hints=Hints(keypoints=self.joints))
            rgb_stage(self.image, completion, hints=Hints(prompt=rgb_stage.describe(self.image)))

        yield PERSON, 0, person
        # For those who ask for it; not a part of the preset.
        tuning = replace(DecoderTuningConfig(), steps=1)
        painted = (self.denoiser.vae, self.noisy, self.image * 2 - 1, self.modal_mask)
        yield "tuning step", 0, lambda: tuned_picture(*painted, tuning)

    def paper(self) -> Iterator[tuple[str, int, Callable[[], Any]]]:
        """The paper's setting, plainly."""
        prior, vae = self.prior, self.denoiser.vae
        joints = dpmesh_joints(self.joints)
        heatmaps, tokens = prior.heatmaps(joints, SIZE), prior.tokens(joints, SIZE)
        features = prior(self.image, self.joints)
        inputs = torch.cat(
            [self.modal_mask, joint_input(self.joints, self.modal_mask, self.unet.config.joint_input)], 1
        )
        plain.write_attention_out(prior.unet)
        networks = (prior.vae, prior.controlnet, prior.unet)
        yield "body prior", 1, lambda: plain.body_prior(*networks, self.image, heatmaps, tokens)
        yield "U_mask", 1, lambda: self.unet(inputs, features)
        pixels = torch.zeros(1, 3, *[self.blip.config.vision_config.image_size] * 2, device=self.device)
        questions = [torch.ones(1, 12, dtype=torch.long, device=self.device)] * num_questions()
        yield "words", 1, lambda: plain.answer_one_by_one(self.blip, pixels, questions, LONGEST_ANSWER)
        ids = torch.ones(1, MAX_TOKENS, dtype=torch.long, device=self.device)
        latents, words = plain.condition(vae, self.text, ids, self.image, self.modal_mask)
        yield "conditioning", 1, lambda: plain.condition(vae, self.text, ids, self.image, self.modal_mask)
        token, hint = torch.zeros(1, 1, words.shape[-1], device=self.device), mask_hint(self.amodal_mask)
        step = (self.denoiser.unet, self.controlnet, self.noisy, 500, latents, token, hint, words)
        yield "denoising step", PAPER.sampling.steps, lambda: plain.denoising_step(*step)
        yield "decode", 1, lambda: vae.decode(self.noisy / plain.LATENT_SCALE).sample
        tuning = plain.DecoderTuning(vae, self.noisy, self.image * 2 - 1, self.modal_mask)
        yield "tuning step", PAPER.tuning.steps, tuning.step

    def seconds(self, run: Callable[[], Any]) -> float:
        """Median of the repeats after one warm-up."""
        gc.collect()
        run()
        taken = []
        for _ in range(self.repeats):
            self._wait()
            start = time.perf_counter()
            run()
            self._wait()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    def peak(self) -> float:
        """GB (of 10⁹ bytes) that this process has held at most: of the GPU, or of the machine's memory."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _blip(self) -> nn.Module:
        from transformers import BlipConfig, BlipForQuestionAnswering

        small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = {"encoder_hidden_size": 32 if self.tiny else 768, **(small if self.tiny else {})}
        vision = {"image_size": 384, **(small if self.tiny else {})}
        return BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=vision))

    def _text(self) -> nn.Module:
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        width, layers = (64, 2) if self.tiny else (768, 12)
        config = CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32 if self.tiny else 12,
            projection_dim=width,
        )
        return CLIPTextModelWithProjection(config)


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
    """Lets the model do its work, if there is one, and answers from a script: every run asks the same questions."""

    def __init__(self, vqa: Any) -> None:
        self.vqa, self.asked = vqa, 0

    def answer(self, images: Any, questions: Any) -> list[str]:
        if self.vqa is not None:
            self.vqa.answer(images, questions)
        self.asked += len(questions)
        first = dict(zip(questions, ANSWERS, strict=False))
        return [first[question] if len(questions) == len(ANSWERS) else "plain" for question in questions]


def num_questions() -> int:
    """How many questions the script leads to."""
    script = ScriptedAnswers(None)
    Describer(script, lambda sentence: len(sentence.split()) + 2)([np.zeros((SIZE, SIZE, 3), np.uint8)])
    return script.asked


def table(settings: dict[str, Any], args: argparse.Namespace) -> Iterator[str]:
    """Each part of both settings, a person's sums, and their ratios."""
    is_gpu = torch.device(args.device).type == "cuda"
    machine = torch.cuda.get_device_name(args.device) if is_gpu else f"{_processor()}, {args.threads} threads"
    yield (
        f"torch {torch.__version__}, {machine}, {SIZE} px, batch 1, warm, median of {args.repeats}; random weights"
        + f"; ours in {settings['ours']['dtype']}, the paper's in {settings['paper']['dtype']}"
        + (", MINIATURE networks" if args.size == "tiny" else "")
    )
    yield ""
    yield "| part | ours: each × count | the paper's: each × count | ratio of one |"
    yield "| --- | --- | --- | --- |"
    ours, paper = (SimpleNamespace(**settings[name]) for name in ("ours", "paper"))
    for name in dict.fromkeys([*paper.parts, *ours.parts]):
        mine, theirs = ours.parts.get(name), paper.parts.get(name)
        ratio = f"{theirs[0] / mine[0]:.2f}" if mine and theirs else "–"
        yield f"| {name} | {_shown(mine)} | {_shown(theirs)} | {ratio} |"
    for title, names in {"mask stage": MASK_STAGE, "a person, sum of parts": tuple(paper.parts)}.items():
        sums = [sum(parts[name][0] * parts[name][1] for name in names) for parts in (ours.parts, paper.parts)]
        yield f"| **{title}** | {sums[0]:.2f} s | {sums[1]:.2f} s | **{sums[1] / sums[0]:.1f}** |"
    peaks = f"{ours.peak:.1f} GB | {paper.peak:.1f} GB | **{paper.peak / ours.peak:.1f}**"
    yield f"| **peak memory of the process** | {peaks} |"


def _shown(part: tuple[float, int] | None) -> str:
    return "–" if part is None else f"{part[0] * 1000:.0f} ms" + (f" × {part[1]}" if part[1] else "")


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
