"""Presets: which stages go together under one name, with who finds the person and the keypoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from deocclude import weight_specs as weights
from deocclude.conditioning import sources
from deocclude.errors import InputError, no_such
from deocclude.stages.catalogue import stage_specs, weight_specs
from deocclude.weight_specs import WeightSpec

DEFAULT = "feedforward"
"""Built in, and the other stage of a method that has one alone."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A whole method.

    mask_stage, rgb_stage: names of stages. joints: who finds the keypoints (`sources.JOINT_SOURCES`). detector: what
    finds people where neither mask nor box is given (`sources.DETECTORS`). listed: whether menus and `--help` offer it.
    """

    mask_stage: str
    rgb_stage: str
    joints: str = "movenet"
    detector: str = "embedded"
    listed: bool = True

    @property
    def weights(self) -> tuple[WeightSpec, ...]:
        """Everything it may load, the segmenter included."""
        mask, rgb = stage_specs("mask")[self.mask_stage], stage_specs("RGB")[self.rgb_stage]
        perception = sources.detector_weights(self.detector) + sources.joint_weights(self.joints)
        always = sources.SEGMENTER, sources.OCCLUSION
        return tuple(dict.fromkeys((*perception, *mask.weights, *rgb.weights, *always)))

    @property
    def runs_here(self) -> bool:
        """Whether all its weights are on this machine. Asks no network."""
        return all(weights.local_path(spec) is not None for spec in self.weights)

    @property
    def title(self) -> str:
        """For a menu: its stages' titles, each once, and what its licences forbid."""
        mask, rgb = stage_specs("mask")[self.mask_stage], stage_specs("RGB")[self.rgb_stage]
        titles = dict.fromkeys((rgb.title, mask.title))
        limited = any("non-commercial" in spec.licence for spec in (mask, rgb))
        return " · ".join(titles) + (" (non-commercial)" if limited else "")


_ROWS = {
    **{f"mask-{row}": (f"mask-{row}", "copy-input") for row in (1, 2, 3, 4)},
    **{f"rgb-{row}": ("diffusion", f"rgb-{row}") for row in (5, 6, 7, 8, "image", "generic")},
    "one-stage": ("one-stage", "one-stage"),
    "two-stage-unet": ("diffusion", "two-stage-unet"),
}
"""Paper A's ablations: Table 3's rows (masks alone), Table 4's, other prompts (Tables 5, K), designs (Table 5)."""


def _hub(mask_stage: str, rgb_stage: str, *, listed: bool) -> Preset:
    """With detector and pose estimator from the hub."""
    return Preset(mask_stage=mask_stage, rgb_stage=rgb_stage, joints="vitpose", detector="rt-detr", listed=listed)


def _tiny(stage: str) -> str:
    return stage if stage in ("copy-input", "one-stage") else f"{stage}-tiny"


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name: those of `_ROWS`, and every stage that menus offer with what completes it.

    A method that has both stages brings both; the other stage of a method that has one is feedforward's.
    """
    mask, rgb = stage_specs("mask"), stage_specs("RGB")
    offered = [name for name in dict.fromkeys((*mask, *rgb)) if (mask.get(name) or rgb[name]).listed]
    simple = {
        name: Preset(mask_stage=name if name in mask else DEFAULT, rgb_stage=name if name in rgb else DEFAULT)
        for name in offered
    }
    return {
        **simple,
        "diffusion": _hub("diffusion", "diffusion", listed=True),
        "diffusion-paper": _hub("diffusion", "diffusion-paper", listed=True),
        "diffusion-tiny": Preset(mask_stage="diffusion-tiny", rgb_stage="diffusion-tiny", listed=False),
        **{name: _hub(*stages, listed=False) for name, stages in _ROWS.items()},
        **{
            f"{name}-tiny": Preset(mask_stage=f"{mask}-tiny", rgb_stage=_tiny(rgb), listed=False)
            for name, (mask, rgb) in _ROWS.items()
        },
    }


def preset(name: str) -> Preset:
    """The preset `name`. Raises InputError for an unknown one."""
    if name not in presets():
        raise InputError(f"no preset '{name}'; choose from {', '.join(presets())}")
    return presets()[name]


def offered_presets() -> dict[str, bool]:
    """The names that menus and `--help` offer, and whether each runs here: those that do come first."""
    here = {name: one.runs_here for name, one in presets().items() if one.listed}
    return dict(sorted(here.items(), key=lambda item: not item[1]))


def weights_of(name: str) -> list[WeightSpec]:
    """What a preset or a stage may load, or the weights of that name. Raises InputError for an unknown name."""
    if name in presets():
        return list(presets()[name].weights)
    stages = [specs[name] for specs in (stage_specs("mask"), stage_specs("RGB")) if name in specs]
    if stages:
        return list(dict.fromkeys(weights for spec in stages for weights in spec.weights))
    if name in weight_specs():
        return [weight_specs()[name]]
    raise no_such("preset and no weights", name, [*presets(), *weight_specs()])
