"""Measures of forgetting that neighbouring papers report and the benchmark does not, each a few lines.

| measure | says | cannot say |
|---|---|---|
| Jensen-Shannon, ZRF | how far answers are from the retrained model's, image by image | whose fault it is |
| over-forgetting | how many photos, or near-doubles, are known *less* than by who never met the person | by how much |
| relearn time | how shallow the forgetting is: steps until it is undone | anything, where little was forgotten |
| CKA | in which layer the features differ | what the difference does |
| KLoM | whether *trainings* agree, not models | anything from one training |
| FLOPs | cost without the machine | memory, waiting |

Each needs its floor: the same number for a second retrained model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.stats import entropy
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from data_prep import faces as rendered
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, probability_of_truth, task_loss
from shui_workbook.runs.experiment import Experiment

SMALLEST = 1e-12  # of a probability, inside a logarithm
EMPTY, CLIP = 1e-5, 100  # of a bin without retrained models; of a margin, as published


def jensen_shannon(first: Tensor, second: Tensor, *, multilabel: bool) -> Tensor:
    """(N,) divergence of two models' answers in bits, between 0 and 1; for attributes the mean over them.

    Args:
        first, second: logits (N, K).
    """
    kinds = [torch.stack([z.sigmoid(), (-z).sigmoid()], -1) if multilabel else z.softmax(1) for z in (first, second)]
    p, q = (kind.double().clamp(min=SMALLEST) for kind in kinds)
    middle = (p + q) / 2
    found = ((p * (p / middle).log2()).sum(-1) + (q * (q / middle).log2()).sum(-1)) / 2
    return found.mean(1) if multilabel else found


def zrf(unlearned: Tensor, reference: Tensor, *, multilabel: bool) -> float:
    """1 − mean Jensen-Shannon divergence, 1 where the answers agree (Chundawat et al., AAAI 2023).

    Their reference is an untrained network; to the retrained model it is the number that 1-SHUI asks for.
    """
    return 1 - jensen_shannon(unlearned, reference, multilabel=multilabel).mean().item()


def over_forgotten(unlearned: Tensor, retrained: Tensor, targets: Tensor) -> float:
    """Share of images whose noted answers the model finds less probable than the retrained one; half by chance."""
    sure = [probability_of_truth(logits, targets).log().mean(1) for logits in (unlearned, retrained)]
    return (sure[0] < sure[1]).double().mean().item()


def near_doubles(experiment: Experiment, part: str = "forget", *, change: float = 1.0) -> Faces | None:
    """The rendered people of a split a moment later: every photo drawn anew, the head turned by 3° and moved by 2 % of
    the picture, the light 4 % dimmer. What is noted of the photo still holds. None where the data is not rendered.

    Args:
        change: how much of this; 0 draws the photos as they are.
    """
    about = json.loads((experiment.folder / "dataset.json").read_text())
    if about.get("sources", {}).get("renderer") != rendered.VERSION:
        return None
    faces, options = experiment.part(part), about["options"]
    everyone = pd.Series(experiment.faces.identity)
    photo = everyone.groupby(everyone).cumcount()[experiment.rows_of[part]]
    people = rendered.people(faces.identity, seed=options["seed"], task=options["task"])
    later = rendered.occasions(people, photo, seed=options["seed"])
    turned, moved = later["yaw"] + 0.05 * change, later["shift_x"] + 0.04 * change
    later = later.assign(yaw=turned, shift_x=moved, exposure=later["exposure"] * (1 - 0.04 * change))
    return replace(faces, images=rendered.draw(people, later, faces.size), rows=np.arange(len(faces)))


def relearn_steps(
    model: FaceModel, photos: Faces, reached: Callable[[FaceModel], bool], *, lr: float = 1e-3, most: int = 30
) -> float:
    """Steps of Adam on these photos until the score is back; inf where `most` do not do it.

    Args:
        reached: of a model in eval mode, is it back?
    """
    model = copy.deepcopy(model).eval()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)
    for step in range(most + 1):
        if reached(model):
            return step
        logits = model(pixels_for(model, photos)).logits
        optimizer.zero_grad()
        task_loss(logits, photos.targets.to(logits.device)).backward()
        optimizer.step()
    return np.inf


def cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of two features (N, D) and (N, E): 1 where they are the same but for a rotation
    and a scale (Kornblith et al., ICML 2019). ValueError: features that do not vary."""
    x, y = (f.double() - f.double().mean(0) for f in (first, second))
    own = (x.T @ x).norm() * (y.T @ y).norm()
    if own == 0:
        raise ValueError("CKA of features that are the same for every image is not defined")
    return ((y.T @ x).norm().square() / own).item()


@torch.inference_mode()
def block_features(model: FaceModel, faces: Faces, *, batch: int = 256) -> dict[str, Tensor]:
    """What each block of the network says of every image, (N, D), the mean over tokens or places."""
    blocks = {name: block for name, block in model.named_modules() if name.rpartition(".")[0].endswith("blocks")}
    if not blocks:
        blocks = {name: block for name, block in model.network.named_children() if list(block.parameters())}
    seen: dict[str, list[Tensor]] = {name: [] for name in blocks}

    def watch(name: str) -> Callable[..., None]:
        def keep(_: object, __: object, out: Tensor) -> None:
            means = out.mean(1) if out.ndim == 3 else out.flatten(2).mean(2) if out.ndim == 4 else out
            seen[name].append(means.float().cpu())

        return keep

    handles = [block.register_forward_hook(watch(name)) for name, block in blocks.items()]
    for part in faces.batches(batch):
        model.eval()(pixels_for(model, part))
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in seen.items() if parts}


def klom(unlearned: np.ndarray, retrained: np.ndarray, *, bins: int | None = 20) -> np.ndarray:
    """(N,) KL(unlearned ‖ retrained) of each image's margins over trainings, in nats (Georgiev et al., 2024).

    A margin is the log odds of the truth. As published, margins are clipped to ±100, both histograms have the same bins
    over their common range, and an empty bin of the retrained models counts as `EMPTY`. That is for a hundred
    trainings; with ten most bins are empty. `bins=None` takes both for normal, and compares means and variances. The
    floor is the same number of two sets of retrained models: with few trainings it is far from 0.

    Args:
        unlearned, retrained: margins (M, N), M trainings of the *same* request.
    Raises:
        ValueError: fewer than three trainings.
    """
    if min(len(unlearned), len(retrained)) < 3:
        raise ValueError(f"KLoM compares trainings: give three or more, got {len(unlearned)} and {len(retrained)}")
    if bins is None:
        (a, s), (b, r) = ((m.mean(0), np.maximum(m.std(0, ddof=1), 1e-6)) for m in (unlearned, retrained))
        return np.log(r / s) + (s**2 + (a - b) ** 2) / (2 * r**2) - 0.5
    pairs = zip(unlearned.T.clip(-CLIP, CLIP), retrained.T.clip(-CLIP, CLIP), strict=True)
    return np.array([_of_histograms(*pair, bins) for pair in pairs])


def _of_histograms(unlearned: np.ndarray, retrained: np.ndarray, bins: int) -> float:
    """KL of one image's margins (M,) and (M',)."""
    edges = np.histogram_bin_edges(np.concatenate([unlearned, retrained]), bins)
    p, q = (np.histogram(margins, edges)[0] / len(margins) for margins in (unlearned, retrained))
    return entropy(p, np.where(p > 0, q.clip(min=EMPTY), q))


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of what is called, as torch counts them: products of matrices and convolutions."""
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return counter.get_total_flops()
