"""Parameters that are angles: which they are, and their differences on the circle."""

import torch
from torch import Tensor, nn


def angle_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that are angles, i.e. periodic with 2π."""
    return frozenset(
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in getattr(module, "angles", ())
    )


def wrap(angles: Tensor) -> Tensor:
    """Return angles, or differences of angles, in (-π, π]; those already there keep their bits."""
    inside = (angles > -torch.pi) & (angles <= torch.pi)
    return torch.where(inside, angles, torch.pi - (torch.pi - angles).remainder(2 * torch.pi))
