"""PGU's subspaces from summed Gram matrices, against a singular value decomposition of all stacked inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.measure import Row, check_close, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, noise, random_model
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods.parts.subspaces import Spectrum, input_grams, leading, spectrum, watching

IMAGES, SHARE, TOLERANCE = 256, 0.9, 1e-5  # SHARE: γ of PGU


def summed(model: FaceModel, faces: Faces) -> dict[str, Spectrum]:
    """Ours: (d, d) matrices, whatever the number of images."""
    grams = input_grams(model, faces, generator=torch.Generator().manual_seed(0))
    return {name: spectrum(gram) for name, gram in grams.items()}


@torch.no_grad()
def stacked(model: FaceModel, faces: Faces) -> dict[str, Spectrum]:
    """The twin, as the method is written: image by image, every layer's inputs are kept and decomposed."""
    kept: dict[str, list[Tensor]] = {}
    with watching(model, lambda name, rows: kept.setdefault(name, []).append(rows.double())):
        for image in faces.batches(1):
            model(pixels_for(model, image))
    found = {}
    for name, rows in kept.items():
        _, values, directions = torch.linalg.svd(torch.cat(rows), full_matrices=False)
        found[name] = Spectrum(values, directions.T)
    return found


def rows() -> list[Row]:
    """The `cpu` preset's ViT; every layer's projection onto what PGU protects must be the same."""
    model, faces = random_model(CPU_PRESET), noise(IMAGES, MODELS[CPU_PRESET][1])
    summed(model, faces[slice(0, 1)])  # the first call is slower
    ours, twin = measured_in_turn(lambda: summed(model, faces), lambda: stacked(model, faces), device=DEVICE, repeats=2)
    for name, theirs in twin.result.items():
        k = leading(theirs.values, SHARE)
        projections = [basis @ basis.T for basis in (ours.result[name].directions[:, :k], theirs.directions[:, :k])]
        check_close(f"subspace of {name}", *projections, tolerance=TOLERANCE)
    return [row("subspaces", f"{CPU_PRESET}, {IMAGES} images", ours, twin)]
