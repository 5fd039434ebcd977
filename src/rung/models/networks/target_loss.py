"""The loss of a network that writes: of smoothed targets in its slope, of plain ones in its value.

smoothed = (1 - e) x (-log p of the right token) + e x (the mean of -log p over all tokens)

Szegedy et al. 2015 (arXiv:1512.00567), section 7. Every loss that is told is the plain one, so that a run with
smoothing and one without can be set side by side.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rung.models.networks.torch_model import upcast
from rung.text.masking import PADDING


def target_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The sum of -log p, nats, over `targets` (...) that are not PADDING, from logits (..., V)."""
    logits, flat = upcast(logits).flatten(0, -2), targets.flatten()
    if not label_smoothing:
        return F.cross_entropy(logits, flat, ignore_index=PADDING, reduction="sum")
    log_probs = logits.log_softmax(-1)
    plain = F.nll_loss(log_probs, flat, ignore_index=PADDING, reduction="sum")
    even = -(log_probs.mean(-1) * (flat != PADDING)).sum()
    smoothed = (1 - label_smoothing) * plain + label_smoothing * even
    return plain.detach() + smoothed - smoothed.detach()
