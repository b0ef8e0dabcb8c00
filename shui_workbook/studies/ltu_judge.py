"""How unlearning of random images is judged: four numbers, and how far they are from the retrained model's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from sklearn.svm import SVC
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, accuracy, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, probability_of_truth

METRICS = ("UA", "RA", "TA", "MI")


def judged(model: FaceModel, parts: Mapping[str, Faces]) -> dict[str, float]:
    """UA (error on D_f), RA (accuracy on all of D_r), TA (on test) and MI (see `taken_for_strangers`), in percent."""
    outputs = {part: predict(model, parts[part]).logits for part in ("forget", "retain", "test")}
    right = {part: 100 * accuracy(logits, parts[part].targets) for part, logits in outputs.items()}
    sure = {part: probability_of_truth(logits, parts[part].targets).flatten() for part, logits in outputs.items()}
    attack = taken_for_strangers(sure["retain"], sure["test"], sure["forget"])
    return {"UA": 100 - right["forget"], "RA": right["retain"], "TA": right["test"], "MI": attack}


def taken_for_strangers(retain: Tensor, test: Tensor, forget: Tensor) -> float:
    """Share of D_f that a membership attack judges not to be trained on, in percent.

    SalUn's attack in its confidence form: a support vector machine (radial basis, C = 3) on the probability of the
    noted class, taught by equally many retain (members) and test images (not). It never sees D_f before it judges it.
    The retrained model's value is the goal, not the highest. Members are the first retain images, as published: where a
    data set is sorted by person, those of the first people.
    """
    n = min(len(retain), len(test))
    lesson = torch.cat([retain[:n], test[:n]])[:, None].double().numpy()
    attack = SVC(C=3, gamma="auto", kernel="rbf").fit(lesson, [1] * n + [0] * n)
    return 100 * float((attack.predict(forget[:, None].double().numpy()) == 0).mean())


def gaps(found: Mapping[str, float], goal: Mapping[str, float]) -> dict[str, float]:
    """|value − the retrained model's| of the four, their mean ("gap"), and Tug-of-War; points and percent."""
    apart = {metric: abs(found[metric] - goal[metric]) for metric in METRICS}
    scores = [Scores(v["RA"] / 100, 1 - v["UA"] / 100, v["TA"] / 100) for v in (found, goal)]
    return {**apart, "gap": sum(apart.values()) / len(METRICS), "tow": tug_of_war(*scores)}
