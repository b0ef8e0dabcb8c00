"""Small official layouts, exact in every file name and format, with noise for photos."""

import csv
import io
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


def mufac(root: Path, *, with_folder: bool = False, seed: int = 0) -> Path:
    """Write `root/mufac`: families F0001 to F0003, persons D and S, two photos each; returns it.

    The number in a file name is another age than the row's, and the same file names return in each split.
    """
    rng = np.random.default_rng(seed)
    folder = root / "mufac"
    for split, family in (("train", "F0003"), ("val", "F0001"), ("test", "F0002")):
        rows = []
        for number, (person, letter) in enumerate([("S", "a"), ("D", "h"), ("S", "b"), ("D", "d")]):
            name = f"AGE_{person}_{45 + number}.jpg"
            photo(folder / f"{split}_images" / name, (128, 128), rng)
            rows.append((family, person, letter, f"{split}_images/{name}" if with_folder else name))
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([("family_id", "person_id", "age_class", "image_path"), *rows])
        (folder / f"custom_{split}_dataset.csv").write_text(table.getvalue(), encoding="utf-8")
    return folder


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
