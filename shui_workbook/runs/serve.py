"""Serving a request from run folders alone: what a company does when the training data is long deleted."""

from __future__ import annotations

from pathlib import Path

import torch

from shui_lib.benchmark.models import FaceModel, build_model
from shui_lib.benchmark.presets import ModelConfig
from shui_lib.core.stages import Stage, open_stage
from shui_lib.core.store import load_tensors
from shui_lib.methods import Artefacts, Given, make_method


def load_model(stage: Stage) -> FaceModel:
    """The model of a stage, on the CPU, in eval mode. It needs the run folder alone, not the data set.

    Raises:
        CorruptFile: the weights are damaged.
    """
    facts = _original_of(stage).lineage["facts"]
    config = ModelConfig(**{**facts["model"], "pretrained": False})
    model = build_model(config, n_outputs=len(facts["classes"]), image_size=facts["image_size"], seed=0)
    model.load_state_dict(load_tensors(stage.file("model.safetensors")))
    return model.eval()


def unlearn_from(
    artefacts: Path | str, given: Given, *, seed: int = 0, device: torch.device | str = "cpu"
) -> FaceModel:
    """Serve a request from a folder of artefacts.

    Args:
        artefacts: folder of a `<method>-artefacts` stage, which holds the method's settings, beside the folders of its
            original model and of what it has prepared.
        given: the Support Set, and whatever else the method needs.
    Returns:
        θ_u in eval mode, on the device.
    """
    stage = open_stage(Path(artefacts))
    method = make_method(stage.lineage["facts"]["method"], stage.lineage["facts"]["settings"])
    model = load_model(_original_of(stage)).to(device)
    parents = stage.lineage["parents"]
    prepared = open_stage(stage.folder.parent / parents["prepared"])
    tensors = load_tensors(prepared.file("artefacts.safetensors"))
    generator = torch.Generator().manual_seed(seed)
    return method.unlearn(model, given.only(method.needs), Artefacts(tensors), generator=generator)


def _original_of(stage: Stage) -> Stage:
    """The trained model at the root of a stage's lineage."""
    parents = stage.lineage["parents"]
    return _original_of(open_stage(stage.folder.parent / parents["original"])) if "original" in parents else stage
