"""Pose templates: the centres of whole-body masks, cut as the network's input is (paper B, section 3.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from scipy.cluster.vq import kmeans2
from torch import Tensor
from tqdm import tqdm

from deocclude.errors import InputError
from deocclude.files import written_whole
from deocclude.training.config import TrainingConfig
from deocclude.training.loop import batches
from deocclude.training.synthesis import BatchSynthesis


def cluster_templates(
    synthesis: BatchSynthesis, config: TrainingConfig, *, num_templates: int, size: int, num_masks: int
) -> Tensor:
    """k-means over `num_masks` amodal masks of training pictures: float32 (num_templates, size, size) in [0, 1]."""
    count = -(-num_masks // config.batch_size)
    shrunk = [
        F.interpolate(batch.amodal_mask.float(), (size, size), mode="area").flatten(1)
        for batch in tqdm(batches(synthesis, config, count), total=count, desc="silhouettes")
    ]
    masks = torch.cat(shrunk)[:num_masks].cpu().numpy()
    centres, _ = kmeans2(masks, num_templates, minit="++", rng=np.random.default_rng(config.seed))
    return torch.from_numpy(centres.astype(np.float32)).view(num_templates, size, size)


def save_templates(path: Path, templates: Tensor) -> None:
    """Write templates float32 (K, S, S) as safetensors, whole or not at all; replaces what is there."""
    with written_whole(path) as unfinished:
        unfinished.write_bytes(save({"templates": templates}))


def load_templates(path: Path) -> Tensor:
    """The templates that `save_templates` wrote, float32 (K, S, S). Raises InputError for any other file."""
    try:
        return load(path.read_bytes())["templates"]
    except OSError as error:
        raise InputError(f"{path}: no templates there ({error.strerror}); see 'deocclude templates'") from error
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{path}: not a file of 'deocclude templates'") from error
