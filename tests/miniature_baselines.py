"""Other methods' networks in miniature, as the hub leaves them on a disk: real classes, seeded weights, no download."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from test_diffusion_loading import write_tokenizer
from torch import nn

from deocclude.models.diffusion.stable_diffusion import make_unet, make_vae
from deocclude.models.lama import LamaConfig, LamaNetwork, published_names
from deocclude.stages.completers.diffusion_tiny import NETWORKS, VOCABULARY

LAMA = LamaConfig(channels=8, num_blocks=2)


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """A network whose weights are always the same, and in which nothing starts at zero and does nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        for parameter in network.parameters():
            if not parameter.any() and parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
    return network.eval()


def clip_text() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=NETWORKS.context_dim,
        intermediate_size=2 * NETWORKS.context_dim,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=VOCABULARY - 1,
    )
    return seeded(lambda: CLIPTextModel(config))


def write_stable_diffusion(folder: Path, *, in_channels: int) -> Path:
    """VAE, U-Net, text encoder and tokenizer, the weights in float16 and so named."""
    networks = {
        "vae": seeded(lambda: make_vae(NETWORKS)),
        "unet": seeded(lambda: make_unet(NETWORKS, in_channels=in_channels)),
        "text_encoder": clip_text(),
    }
    for name, network in networks.items():
        network.half().save_pretrained(folder / name, variant="fp16")
    write_clip_tokenizer(folder / "tokenizer")
    return folder


def write_clip_tokenizer(folder: Path) -> None:
    folder.mkdir()
    write_tokenizer(folder)
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_flux2_klein(folder: Path) -> Path:
    """VAE, transformer, Qwen3 and its tokenizer, whose words are bytes."""
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    text = Qwen3Config(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=28,  # three of them are read, the deepest is the 27th
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    networks = {
        "vae": lambda: AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4, sample_size=32
        ),
        "transformer": lambda: Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=32,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        "text_encoder": lambda: Qwen3ForCausalLM(text),
    }
    for name, build in networks.items():
        seeded(build).save_pretrained(folder / name)
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    write_byte_tokenizer(folder / "tokenizer")
    return folder


def write_flux_fill(folder: Path) -> Path:
    """VAE, transformer, CLIP, T5 and their tokenizers; T5's words are letters."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    networks = {
        "vae": lambda: AutoencoderKL(**blocks, block_out_channels=(8, 8, 8, 8), norm_num_groups=4, shift_factor=0.0),
        "transformer": lambda: FluxTransformer2DModel(
            in_channels=2 * 16 + 4 * 8 * 8,  # latent and masked picture, four pixels each, and the mask
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=NETWORKS.context_dim,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        "text_encoder_2": lambda: T5EncoderModel(
            T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, tie_word_embeddings=False)
        ),
    }
    for name, build in networks.items():
        seeded(build).save_pretrained(folder / name)
    clip_text().save_pretrained(folder / "text_encoder")
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    write_clip_tokenizer(folder / "tokenizer")
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -1.0) for letter in string.ascii_lowercase)]
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(Unigram(letters, unk_id=2)), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    words.save_pretrained(folder / "tokenizer_2")
    return folder


def write_byte_tokenizer(folder: Path) -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder.mkdir()
    tokens = [*bytes_to_unicode().values(), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    config = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def lama_state_dict(config: LamaConfig = LAMA, prefix: str = "") -> dict[str, torch.Tensor]:
    """The published names; batch normalisation as after some training, for the identity would hide exchanges."""
    network = seeded(lambda: LamaNetwork(config))
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                assert values is not None
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    names = published_names(config)
    return {
        f"{prefix}{names[ours.rpartition('.')[0]]}.{ours.rpartition('.')[2]}": value.clone()
        for ours, value in network.state_dict().items()
    }
