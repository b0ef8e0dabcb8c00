"""A residual network for face recognition: the 29 convolutions of dlib's, with a head for attributes.

Davis King's `dlib_face_recognition_resnet_model_v1`, trained to tell persons apart on about three million photos, of
celebrities in part. `data_prep.weights` brings its weights; it has no batch norm (dlib's affine layers are
folded into the convolutions) and no dropout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLAN = (1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8)  # how many times as wide as the stem each block is
HALVING = (3, 7, 10, 13)  # blocks that halve the picture
LEAST_SPREAD = 1e-3  # of a feature that is the same for all images


class Block(nn.Module):
    """Two convolutions beside a shortcut without weights: what one branch lacks in channels or pixels is zero."""

    def __init__(self, narrow: int, wide: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(narrow, wide, 3, stride, padding=1 if stride == 1 else 0)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        changed = self.conv2(F.relu(self.conv1(x)))
        kept = F.avg_pool2d(x, 2, 2) if self.stride == 2 else x
        shape = [max(sizes) for sizes in zip(changed.shape[1:], kept.shape[1:], strict=True)]
        return F.relu(_padded(changed, shape) + _padded(kept, shape))


def _padded(x: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, c, h, w) with zeros behind, to (B, C, H, W)."""
    lacking = [wanted - got for wanted, got in zip(shape, x.shape[1:], strict=True)]
    return F.pad(x, [pixel for n in reversed(lacking) for pixel in (0, n)])


class FaceResNet(nn.Module):
    """dlib's network as timm's are: `forward_features`, `forward_head`, `get_classifier`.

    Takes images normalised with mean = std = 0.5, of `smallest` pixels (103) or more; its own training had 150. The
    pooled feature (256 numbers) is standardised by `centre` and `spread`: as it is it varies little among persons
    beside its mean, and AdamW learns a head on it slowly.
    """

    def __init__(self, num_classes: int, *, width: int = 32, blocks: int = len(PLAN)):
        super().__init__()
        widths = [width, *(width * times for times in PLAN[:blocks])]
        strides = [2 if k in HALVING else 1 for k in range(blocks)]
        self.stem = nn.Conv2d(3, width, 7, 2)
        self.blocks = nn.Sequential(*map(Block, widths[:-1], widths[1:], strides))
        self.smallest = 3 * 2 ** (1 + strides.count(2)) + 7  # pixels: the last block that halves gets 3 × 3
        self.num_features = widths[-1]
        self.head = nn.Linear(self.num_features, num_classes)
        self.register_buffer("centre", torch.zeros(self.num_features))
        self.register_buffer("spread", torch.ones(self.num_features))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) to a map (B, 256, h, w).

        Raises:
            ValueError: images that are too small.
        """
        if min(x.shape[2:]) < self.smallest:
            raise ValueError(f"images of {min(x.shape[2:])} pixels: this network takes {self.smallest} or more")
        return self.blocks(F.max_pool2d(F.relu(self.stem(x)), 3, 2))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The map to the standardised feature (B, 256), or to logits."""
        feature = (x.mean((2, 3)) - self.centre) / self.spread
        return feature if pre_logits else self.head(feature)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits (B, K)."""
        return self.forward_head(self.forward_features(x))

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Let features (N, 256), as this network gives them now, have mean 0 and deviation 1 from now on."""
        features = features.to(self.centre)
        self.centre += self.spread * features.mean(0)
        self.spread *= features.std(0).clamp_min(LEAST_SPREAD)
