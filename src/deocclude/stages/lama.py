"""LaMa (Suvorov et al. 2022) as an RGB stage: a hole in the whole picture is filled, whoever it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError
from deocclude.stages.loading import hub_folder
from deocclude.stages.spec import StageSpec
from deocclude.weight_specs import from_hub

if TYPE_CHECKING:
    import torch

    from deocclude.models.lama import LamaNetwork

FILE = "big-lama.safetensors"
# LICENSE (Apache-2.0) of advimman/lama, whose Big-LaMa, trained on Places, this is as safetensors; the hub page of the
# zip that its README links, smartywu/big-lama, says "License: apache-2.0" too. Revision and sha256: in one public pin.
LAMA = from_hub(
    "lama",
    "baseline: Big-LaMa",
    "michaelgold/big-lama",
    "98ab7cface89a594b381f32fc7a9f2cae3f91ccc",
    text="",
    weights={FILE: "326ae1889b92d07c8819c35eaf561f8b290d057536eeb12524b72997f31005ec"},
    size=204_000_000,
    parameters=50_975_875,
    licence="Apache-2.0",
)
WEIGHTS = (LAMA,)


def load_rgb_completer(*, device: torch.device, dtype: torch.dtype, config: Any) -> Any:
    """With the hub's weights."""
    from deocclude.stages.completers.lama import LamaRgbCompleter

    folder, commit = hub_folder(LAMA)
    network = load_network(folder / FILE).to(device, dtype)
    return LamaRgbCompleter(network, weights_sha256=commit)


def load_network(path: Path) -> LamaNetwork:
    """The generator from a safetensors file, float32, on the CPU. Raises InputError for a file of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from deocclude.models.lama import LamaNetwork, lama_from_published

    try:
        network = lama_from_published(load_file(path)).network
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: no weights of LaMa ({error})") from error
    assert isinstance(network, LamaNetwork)
    return network.float().requires_grad_(False)


STAGES = (
    StageSpec(
        name="lama",
        kind="RGB",
        title="LaMa",
        paper="LaMa (Suvorov et al. 2022)",
        licence=LAMA.licence,
        weights=WEIGHTS,
        size=512,  # trained at 256 px and made to work above
        dtype="float32",
        accepts=frozenset(),
        options=None,
        batched=False,
        role="method",
        memory=0,
        note="Big-LaMa",
        load=load_rgb_completer,
    ),
)
