"""Small official layouts, exact in every file name and format, with noise for photos."""

import csv
import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

ATTRIBUTES = (  # noqa: SIM905
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair "
    "Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup "
    "High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose "
    "Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat "
    "Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
).split()
PEOPLE = {7: 5, 2: 3, 90: 1}  # identity -> photos


def celeba(root: Path, people: dict[int, int] = PEOPLE, *, seed: int = 0) -> Path:
    """Write `root/celeba` with Windows line ends, as the official lists have them; returns it."""
    rng = np.random.default_rng(seed)
    folder = root / "celeba"
    identities = [identity for identity, count in people.items() for _ in range(count)]
    names = [f"{number:06}.jpg" for number in range(1, len(identities) + 1)]
    rows = rng.choice([-1, 1], (len(names), len(ATTRIBUTES)))
    head = [str(len(names)), " ".join(ATTRIBUTES) + " "]
    signs = [f"{name} " + " ".join(f"{sign:2}" for sign in row) for name, row in zip(names, rows, strict=True)]
    pairs = [f"{name} {identity}" for name, identity in zip(names, identities, strict=True)]
    write_lines(folder / "list_attr_celeba.txt", head + signs, end="\r\n")
    write_lines(folder / "identity_CelebA.txt", pairs, end="\r\n")
    write_lines(folder / "list_eval_partition.txt", [f"{name} {i % 3}" for i, name in enumerate(names)], "\r\n")
    for name in names:
        photo(folder / "img_align_celeba" / name, (178, 218), rng)
    return folder


def celebahq(root: Path, people: dict[int, int] = PEOPLE, *, pixels: int = 64, seed: int = 0) -> Path:
    """Write `root/CelebAMask-HQ`; returns it."""
    rng = np.random.default_rng(seed)
    folder = root / "CelebAMask-HQ"
    identities = [identity for identity, count in people.items() for _ in range(count)]
    names = [f"{number}.jpg" for number in range(len(identities))]
    rows = rng.choice([-1, 1], (len(names), len(ATTRIBUTES)))
    signs = [f"{name}  " + " ".join(map(str, row)) for name, row in zip(names, rows, strict=True)]
    pairs = [f"{name} {identity}" for name, identity in zip(names, identities, strict=True)]
    head = [str(len(names)), " ".join(ATTRIBUTES)]
    write_lines(folder / "CelebAMask-HQ-attribute-anno.txt", head + signs)
    write_lines(folder / "CelebA-HQ-identity.txt", pairs)
    for name in names:
        photo(folder / "CelebA-HQ-img" / name, (pixels, pixels), rng)
    return folder


def mufac(root: Path, *, with_folder: bool = False, families: int = 0, seed: int = 0) -> Path:
    """Write `root/mufac`: families F0001 to F0003, persons D and S, two photos each; returns it.

    The number in a file name is another age than the row's, and the same file names return in each split.

    Args:
        families: further ones in every split, F0101 to F0103, F0201 and so on, with six photos of each person.
    """
    rng = np.random.default_rng(seed)
    folder = root / "mufac"
    for split, family in (("train", "F0003"), ("val", "F0001"), ("test", "F0002")):
        people = enumerate([("S", "a"), ("D", "h"), ("S", "b"), ("D", "d")])
        rows = [(family, person, letter, f"AGE_{person}_{45 + number}.jpg") for number, (person, letter) in people]
        for more in (f"F{k:02}{family[-2:]}" for k in range(1, families + 1)):
            rows += [(more, p, "abcdefgh"[n], f"{more}_AGE_{p}_{45 + n}.jpg") for p in "DS" for n in range(6)]
        for *_, name in rows:
            photo(folder / f"{split}_images" / name, (128, 128), rng)
        rows = [(*who, f"{split}_images/{name}" if with_folder else name) for *who, name in rows]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([("family_id", "person_id", "age_class", "image_path"), *rows])
        (folder / f"custom_{split}_dataset.csv").write_text(table.getvalue(), encoding="utf-8")
    return folder


def again(folder: Path, split: str, family: str, person: str, rows: list[tuple[str, str]]) -> None:
    """List photos of a MUFAC folder once more: under another family, in files of their own, byte for byte.

    Args:
        rows: photo ("train_images/AGE_D_46.jpg") and the letter of its age.
    """
    with (folder / f"custom_{split}_dataset.csv").open("a", encoding="utf-8") as table:
        for number, (photo_, letter) in enumerate(rows):
            name = f"{family}_AGE_{person}_{20 + number}.jpg"
            (folder / f"{split}_images" / name).write_bytes((folder / photo_).read_bytes())
            table.write(f"{family},{person},{letter},{name}\n")


def idx(path: Path, array: np.ndarray) -> None:
    """Write an idx file of bytes, or of 32-bit numbers, gzipped as the official ones are."""
    kind = 8 if array.dtype == np.uint8 else 12
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(head + array.astype(">u1" if kind == 8 else ">i4").tobytes(), mtime=0))


def mnist(root: Path, counts: tuple[int, int] = (30, 12), *, seed: int = 0) -> Path:
    """Write `root/mnist`, four official files; returns it."""
    rng = np.random.default_rng(seed)
    folder = root / "mnist"
    for name, count in zip(("train", "t10k"), counts, strict=True):
        idx(folder / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        idx(folder / f"{name}-labels-idx1-ubyte.gz", rng.integers(0, 10, count, dtype=np.uint8))
    return folder


def writers(root: Path, counts: tuple[int, int] = (30, 12), *, seed: int = 0) -> Path:
    """Write `root/mnist` with QMNIST's labels beside it: five writers a split, ten more labels than test digits."""
    folder, rng = mnist(root, counts, seed=seed), np.random.default_rng(seed + 1)
    for name, split, count, extra in zip(("train", "t10k"), ("train", "test"), counts, (0, 10), strict=True):
        plain = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
        rows = np.zeros((count + extra, 8), np.int32)
        rows[:, 0] = [*plain, *rng.integers(0, 10, extra)]
        rows[:, 2] = 100 * extra + np.arange(len(rows)) % 5
        rows[:, 1] = np.where(rows[:, 2] % 2, 4, extra // 10)  # odd writers are students; the others of hsf_0, hsf_1
        idx(folder / f"qmnist-{split}-labels-idx2-int.gz", rows)
    return folder


THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(root: Path, each: int = 4, *, packed: bool = True, seed: int = 0) -> Path:
    """Write CIFAR-10's binary version with `each` records a batch, as folder and with `packed` as archive; its root.

    The archive's members are the official ones, the folder and readme.html among them.
    """
    rng = np.random.default_rng(seed)
    folder = root / "cifar-10-batches-bin"
    write_lines(folder / "batches.meta.txt", [*THINGS, ""])
    write_lines(folder / "readme.html", ['<meta HTTP-EQUIV="REFRESH" content="0; url=cifar.html">'])
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        records = rng.integers(0, 256, (each, 3073), dtype=np.uint8)
        records[:, 0] = rng.integers(0, 10, each)
        (folder / name).write_bytes(records.tobytes())
    if packed:
        with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
    return root


def photo(path: Path, shape: tuple[int, int], rng: np.random.Generator) -> None:
    """Write one JPEG of noise, `shape` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(0, 256, (shape[1], shape[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=90)


def write_lines(path: Path, lines: list[str], end: str = "\n") -> None:
    """Write `lines`, each followed by `end`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def edit(path: Path, line: int, text: str | None) -> None:
    """Replace line `line` (from 1) by `text`, or cut it out if that is None; line 0 appends."""
    lines = path.read_bytes().decode().splitlines()
    if line == 0:
        lines.append(str(text))
    else:
        lines[line - 1 : line] = [] if text is None else [text]
    write_lines(path, lines)
