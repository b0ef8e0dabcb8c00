"""The learned loss h_φ: a small network that tells, from what a model says about a photo, how to forget it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shui_lib.benchmark.predict import task_loss

INPUTS = ("logits", "features", "ids", "targets")


class LearnedLoss(nn.Module):
    """h_φ of the paper's Table 8b, on any subset of its four inputs (Table 6 takes them away one by one).

    Args:
        n_outputs: K, attributes or classes.
        n_features: D, the length of the CLS token (768 for ViT-B).
        n_identities: training identities, one row of the embedding each.
        inputs: some of "logits", "features", "ids", "targets".
        n_steps: parameters of the model that have a step size of their own, as exp(`log_steps`) times η; not in the
            paper.
        residual: learn what to add to the negated task loss, at first nothing, instead of a loss from scratch; not in
            the paper.
    """

    def __init__(
        self,
        *,
        n_outputs: int,
        n_features: int,
        n_identities: int,
        inputs: tuple[str, ...] = INPUTS,
        embedding: int = 64,
        hidden: int = 512,
        dropout: float = 0.5,
        n_steps: int = 0,
        residual: bool = False,
    ):
        super().__init__()
        if not inputs or not set(inputs) <= set(INPUTS):
            raise ValueError(f"inputs {inputs}: choose one or more of {INPUTS}")
        self.inputs = tuple(name for name in INPUTS if name in inputs)
        self.n_outputs = n_outputs
        self.identities = nn.Embedding(n_identities, embedding) if "ids" in inputs else None
        width = {"logits": n_outputs, "features": n_features, "ids": embedding, "targets": n_outputs}
        self.layers = nn.Sequential(
            nn.Linear(sum(width[name] for name in self.inputs), hidden),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 1),
            nn.Softplus(),
        )
        self.log_steps = nn.Parameter(torch.zeros(n_steps)) if n_steps else None
        self.residual = residual
        if residual:
            nn.init.zeros_(self.layers[-2].weight)

    def forward(self, logits: Tensor, features: Tensor, ids: Tensor, targets: Tensor) -> Tensor:
        """The loss, averaged over the Support Set.

        Args:
            logits: (N_S, K); features: (N_S, D); ids: (N_S,) rows of the embedding;
            targets: (N_S, K) attributes, or (N_S,) classes, which become one-hot.
        Returns:
            a scalar, above zero but for a residual loss.
        """
        one_hot = targets if targets.ndim == 2 else nn.functional.one_hot(targets, self.n_outputs)
        given = {"logits": logits.sigmoid(), "features": features, "targets": one_hot.to(logits)}
        if self.identities is not None:
            given["ids"] = self.identities(ids)
        learned = self.layers(torch.cat([given[name] for name in self.inputs], dim=1)).mean()  # (N_S, sum) -> ()
        return learned - task_loss(logits, targets) if self.residual else learned
