"""Other people's trained models, through transformers: whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deocclude.errors import InputError

if TYPE_CHECKING:
    import torch


def load_pretrained(
    model_class: str,
    processor_class: str,
    folder_or_repo: str | Path,
    *,
    dtype: torch.dtype,
    local_files_only: bool = True,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """One of transformers' models with its processor or tokenizer, from a folder or the hub: safetensors, all weights.

    Raises InputError where they are not there, or are those of another model.
    """
    try:
        import transformers
    except ImportError as error:
        raise InputError(f"{model_class} needs transformers; pip install 'deocclude[diffusion]'") from error
    source, options = str(folder_or_repo), {"local_files_only": local_files_only, "revision": revision}
    # Pillow's processors everywhere: torchvision's, chosen where it is installed, resize to other pixels.
    backend = {} if processor_class.endswith("Tokenizer") else {"backend": "pil"}
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it lists what a file holds of other towers, hundreds of lines
    try:
        processor = getattr(transformers, processor_class).from_pretrained(source, **backend, **options)
        model, info = getattr(transformers, model_class).from_pretrained(
            source, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as error:  # transformers, the hub and safetensors share no base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{source}: cannot load {model_class} from there ({reason})") from error
    finally:
        transformers.logging.set_verbosity(level)
    # Where a weight is missing, from_pretrained makes one up and goes on.
    if lacking := sorted(info["missing_keys"]):
        raise InputError(
            f"{source}: not the weights of {model_class}: {len(lacking)} are missing, '{lacking[0]}' among them"
        )
    return model, processor
