"""deocclude's nodes for ComfyUI: this folder is what goes into `custom_nodes`."""

from .nodes import CompleteMask, CompletePerson, FindPeople, Layers

NODE_CLASS_MAPPINGS = {
    "DeoccludeFindPeople": FindPeople,
    "DeoccludeCompleteMask": CompleteMask,
    "DeoccludeCompletePerson": CompletePerson,
    "DeoccludeLayers": Layers,
}
"""The names by which saved workflows know the nodes: they never change."""

NODE_DISPLAY_NAME_MAPPINGS = {
    "DeoccludeFindPeople": "Find People",
    "DeoccludeCompleteMask": "Complete Mask",
    "DeoccludeCompletePerson": "Complete Person",
    "DeoccludeLayers": "Layers of People",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
