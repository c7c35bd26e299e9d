"""A fixed number of training samples instead of endless ones, so that what a frozen network says of them is kept."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deocclude.errors import InputError
from deocclude.files import written_whole
from deocclude.models.diffusion.body_prior import PriorFeatures
from deocclude.training.knowledge import Known
from deocclude.training.loop import step_generator
from deocclude.training.synthesis import BatchSynthesis, SynthesisBatch

logger = logging.getLogger(__name__)

PriorOf = Callable[[SynthesisBatch], PriorFeatures]


class FixedSamples:
    """`count` samples of a synthesis, each a function of its number and the seed: in every epoch the same picture.

    The first `validation_people` samples show the photographs kept aside, and no other sample does.
    """

    def __init__(self, synthesis: BatchSynthesis, count: int, *, seed: int, validation_people: int) -> None:
        if count <= validation_people:
            raise InputError(f"{count} samples are too few: {validation_people} of them are kept aside to validate on")
        self.synthesis, self.seed, self.validation_people = synthesis, seed, validation_people
        self.photos = range(count)

    @property
    def device(self) -> torch.device:
        return self.synthesis.device

    @property
    def repeats(self) -> Tensor:
        return torch.ones(len(self.photos), dtype=torch.int64, device=self.device)

    def __call__(self, indices: Tensor, size: int, generator: torch.Generator) -> SynthesisBatch:
        """Samples `indices` (B,) at `size`; nothing is drawn from the generator."""
        samples = [self._sample(int(index), size) for index in indices]
        known = Known(*(torch.cat(masks) for masks in zip(*(vars(one.known).values() for one in samples), strict=True)))
        fields = {
            name: torch.cat([getattr(one, name) for one in samples])
            for name in vars(samples[0])
            if name not in ("sample_ids", "known")
        }
        return SynthesisBatch(**fields, known=known, sample_ids=indices)

    def _sample(self, index: int, size: int) -> SynthesisBatch:
        kept, photos = self.validation_people, len(self.synthesis.photos)
        photo = index if index < kept else kept + (index - kept) % (photos - kept)
        generator = step_generator(self.seed, index, 0, self.device)
        return self.synthesis(torch.tensor([photo], device=self.device), size, generator)


class PriorCache:
    """What `prior` says of fixed samples, computed once and kept on disk in float16, one file a sample.

    made_from: all that decides it, as a sentence; a folder that was made from something else is refused (InputError).
    count: of the samples. The first that is written tells whether all will fit on the disk (InputError).
    """

    def __init__(self, folder: Path, prior: PriorOf, made_from: str, *, count: int) -> None:
        self.folder, self.prior, self.count = folder, prior, count
        self._is_known_to_fit = False
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / "made_from.txt"
        if not record.exists():
            record.write_text(made_from, encoding="utf-8")
        elif record.read_text(encoding="utf-8") != made_from:
            raise InputError(f"{folder}: made from other samples or another prior; choose another --cache")

    def __call__(self, batch: SynthesisBatch) -> PriorFeatures:
        assert batch.sample_ids is not None, "endless samples are never seen again"
        paths = [self.folder / f"{int(index):08d}_{batch.occluded.shape[-1]}.safetensors" for index in batch.sample_ids]
        if not all(path.exists() for path in paths):
            self._write(paths, self.prior(batch))
        stored = [load_file(path, device=str(batch.occluded.device)) for path in paths]
        joined = {key: torch.stack([one[key] for one in stored]).float() for key in stored[0]}
        return PriorFeatures(
            (joined["F_0"], joined["F_1"], joined["F_2"], joined["F_3"]), (joined["T_0"], joined["T_1"])
        )

    def _write(self, paths: list[Path], features: PriorFeatures) -> None:
        for row, path in enumerate(paths):
            named = {f"F_{level}": value[row] for level, value in enumerate(features.features)}
            named |= {f"T_{level}": value[row] for level, value in enumerate(features.attention)}
            with written_whole(path) as unfinished:
                save_file({key: value.half().cpu().contiguous() for key, value in named.items()}, unfinished)
            if not self._is_known_to_fit:
                self._check_space(path.stat().st_size)
                self._is_known_to_fit = True

    def _check_space(self, sample_bytes: int) -> None:
        left = self.count - sum(1 for _ in self.folder.glob("*.safetensors"))
        free = shutil.disk_usage(self.folder).free
        if left * sample_bytes > free:
            raise InputError(
                f"{self.folder}: {self.count} samples need {left * sample_bytes / 1024**3:.1f} GB more, and "
                f"{free / 1024**3:.1f} GB are free; give fewer --samples or another --cache"
            )
