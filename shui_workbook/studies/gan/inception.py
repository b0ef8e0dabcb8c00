"""Inception's features, for the real FID, where somebody has its weights in a file. Nothing is downloaded.

The network is torch-fidelity's, as torchmetrics uses it; its own loader would unpickle the file, so the weights are
given to it from safetensors. Everywhere else a classifier of ours stands in for it, and its distance is no FID.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import NoTrainInceptionV3

from shui_lib.core.store import CorruptFile, load_tensors

DOWNLOAD = "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url"


class Inception(nn.Module):
    """The 2,048 pooled features of the Inception network of 2015, by which FID is defined."""

    num_features = 2048

    def __init__(self, weights: Path):
        """Read the weights from safetensors (docs/gpu.md says how such a file is made).

        Raises:
            ModuleNotFoundError: torch-fidelity is not installed.
            FileNotFoundError, CorruptFile: no file; damaged, or weights of another network.
        """
        super().__init__()
        tensors = load_tensors(weights)
        try:
            with patch(DOWNLOAD, lambda *_, **__: tensors):  # our file in place of its download
                self.network = NoTrainInceptionV3("inception-v3-compat", [str(self.num_features)])
        except RuntimeError as error:
            raise CorruptFile(
                f"{weights} does not hold the Inception network of FID ({str(error)[:200]}): convert its weights as "
                "docs/gpu.md says"
            ) from error
        self.eval()

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """(B, 2048) of pictures (B, 3, S, S) in [-1, 1], which are rounded to bytes, as FID's are."""
        return self.network((127.5 * (x.clamp(-1, 1) + 1)).round().to(torch.uint8))
