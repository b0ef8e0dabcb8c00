"""Other ways to divide by the curvature, against dense matrices."""

import pytest
import torch
from tiny import small_vit, tiny_faces

from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods.parts.kfac import Factors, Preconditioner, as_matrix, kfac
from shui_lib.methods.parts.meta_gradient import parameters
from shui_workbook.studies.steps import (
    DividedInBasis,
    KroneckerBasis,
    corrected_eigenvalues,
    image_gradients,
)

LAYER = "layer"


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def positive(size: int, seed: int) -> torch.Tensor:
    root = torch.randn(size, size, generator=chance(seed), dtype=torch.float64)
    return root @ root.mT


@pytest.fixture
def factors():
    return {LAYER: Factors(positive(4, 0), positive(3, 1))}


def gradient(seed: int, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    draws = chance(seed)
    shapes = {f"{LAYER}.weight": (3, 3), f"{LAYER}.bias": (3,)}
    return {n: torch.randn(shape, generator=draws, dtype=torch.float64) for n, shape in shapes.items()} | more


def test_with_exact_damping_the_dense_curvature_is_damped(factors):
    basis, one = KroneckerBasis(factors), gradient(2, other=torch.ones(2))
    found = DividedInBasis(basis, basis.products, damping=0.7)(one)
    inputs, outputs = factors[LAYER]
    dense = torch.kron(outputs, inputs)
    dense += 0.7 * inputs.diagonal().mean() * outputs.diagonal().mean() * torch.eye(12, dtype=torch.float64)
    expected = torch.linalg.solve(dense, as_matrix(one, LAYER).flatten()).reshape(3, 4)
    torch.testing.assert_close(as_matrix(found, LAYER), expected)
    assert not found["other"].any(), "no factors, no step"


def test_without_damping_it_is_what_k_fac_tends_to(factors):
    basis, one = KroneckerBasis(factors), gradient(2)
    exact = DividedInBasis(basis, basis.products, damping=0.0)(one)
    torch.testing.assert_close(exact, Preconditioner(factors, damping=1e-20)(one), rtol=1e-5, atol=1e-8)


def test_corrected_eigenvalues_are_mean_squares_along_the_basis():
    model, faces = small_vit(), tiny_faces(2, (3, 3))
    known = kfac(model, faces, generator=chance())
    basis = KroneckerBasis({layer: known[layer] for layer in [*known][:2]})
    found = corrected_eigenvalues(model, faces, basis, generator=chance(5))
    expected, draws = {layer: 0 for layer in found}, chance(5)
    for k in range(len(faces)):
        logits = model(pixels_for(model, faces[[k]])).logits
        targets = torch.bernoulli(logits.detach().sigmoid(), generator=draws)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        grads = dict(zip(parameters(model), torch.autograd.grad(loss, list(model.parameters())), strict=True))
        for layer in expected:
            of_inputs, of_outputs = basis.vectors[layer]
            expected[layer] += (of_outputs.mT @ as_matrix(grads, layer) @ of_inputs) ** 2 / len(faces)
    for layer, value in found.items():
        torch.testing.assert_close(value, expected[layer] * len(faces.classes))


def test_the_model_that_is_asked_stays_as_it_was():
    model = small_vit().train()
    next(image_gradients(model, tiny_faces(2, (3, 3)), generator=chance()))
    assert model.training and all(p.grad is None for p in model.parameters())
