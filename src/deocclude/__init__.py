"""Complete partly hidden people in photographs: the whole-body mask and the picture behind the occluder.

The public names are resolved on first use (PEP 562), so that `import deocclude` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deocclude.errors import InputError
    from deocclude.pipelines.control import Control
    from deocclude.pipelines.deoccluder import Deoccluder
    from deocclude.pipelines.scene import Scene, SceneDeoccluder
    from deocclude.pipelines.scene_people import SceneRequest
    from deocclude.types import Deocclusion, MaskCompletion, Person

__version__ = "0.1.0.dev0"

__all__ = [
    "Control",
    "Deoccluder",
    "Deocclusion",
    "InputError",
    "MaskCompletion",
    "Person",
    "Scene",
    "SceneDeoccluder",
    "SceneRequest",
    "__version__",
]

_MODULE_OF = {
    "Control": "deocclude.pipelines.control",
    "Deoccluder": "deocclude.pipelines.deoccluder",
    "Deocclusion": "deocclude.types",
    "InputError": "deocclude.errors",
    "MaskCompletion": "deocclude.types",
    "Person": "deocclude.types",
    "Scene": "deocclude.pipelines.scene",
    "SceneDeoccluder": "deocclude.pipelines.scene",
    "SceneRequest": "deocclude.pipelines.scene_people",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'deocclude' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
