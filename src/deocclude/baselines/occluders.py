"""What may hide a person, for methods that must be told.

SSSD and amodal completion by inpainting start from an order of the objects in a picture. Our two protocols have no room
for one, so a stage takes a function: `everything_else`, SSSD's setting without an order, or whatever knows better.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

OccludersOf = Callable[[Tensor, Tensor], Tensor]
"""Pictures float (B, 3, S, S) in [0, 1] and modal masks bool (B, 1, S, S) to the pixels of what lies in front of each
person, bool (B, 1, S, S)."""


def everything_else(image: Tensor, modal_mask: Tensor) -> Tensor:
    """Every pixel that does not show the person, for anything may lie in front. Bool (B, 1, S, S)."""
    return ~modal_mask
