"""Command line: `python -m data_prep NAME --out DIR …`; `NAME --help` shows its options and where the download is."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from data_prep import celeba, celebahq, cifar10, faces, mnist, mufac, writers

LOADERS = {
    "celeba": celeba, "celebahq": celebahq, "mufac": mufac, "writers": writers, "mnist": mnist, "cifar10": cifar10,
}  # fmt: skip
OTHERS = {entry.name: entry.load() for entry in entry_points(group="shui.datasets")}  # of other packages
LOADERS |= OTHERS
PEOPLE = ("celeba", "celebahq", "mufac", "writers", *OTHERS)  # those that say who is shown, or who wrote
PHOTOS = ("celeba", "celebahq", "mufac")  # those that come as one file a photo
SMALL = ("writers", "mnist", "cifar10")  # pictures of 32 pixels


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one dataset; returns the exit code, 2 with one message on stderr if the input is bad."""
    options = vars(_parser().parse_args(arguments))
    name, out = options.pop("name"), options["out"]
    try:
        prepare = faces.prepare if name == "faces" else LOADERS[name].prepare
        prepare(**options)
    except (ValueError, OSError) as error:
        print(f"data_prep {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ndata_prep {name}: interrupted, {out} is as it was before", file=sys.stderr)
        return 130
    counts = json.loads((out / "dataset.json").read_text(encoding="utf-8"))["counts"]
    print(f"{out}: {counts['images']:,} images of {counts['identities']:,} identities")
    return 0


def _parser() -> argparse.ArgumentParser:
    """One subcommand per dataset, so that each shows and accepts only its own options."""
    parser = argparse.ArgumentParser(prog="python -m data_prep", description="Write a dataset as arrays.")
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    drawn = commands.add_parser("faces", help="rendered faces with identities, no download needed")
    _common(drawn, size=48)
    drawn.add_argument("--identities", type=_positive, default=200, metavar="N", help="how many persons")
    drawn.add_argument("--seed", type=int, default=0, metavar="S", help="other seed, other persons")
    drawn.add_argument("--task", choices=("attributes", "ages"), default="attributes", help="what to predict")
    drawn.add_argument("--first-identity", type=int, default=0, metavar="K", help="number of the first person")
    for name, module in LOADERS.items():
        where = f"Where it is: {getattr(module, 'HOME', 'as its package says')}."
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0], epilog=where)
        command.add_argument(
            "--raw", type=Path, required=True, metavar="DIR", help="the official download, folder or zip"
        )
        _common(command, size=32 if name in SMALL else 64)
        if name in PEOPLE:
            command.add_argument(
                "--min-images", type=_positive, default=1, metavar="N", help="drop identities with fewer images"
            )
        if name in PHOTOS:
            command.add_argument(
                "--partial", action="store_true", help="take the photos that are there, where some are missing"
            )
        if name == "celeba":
            command.add_argument(
                "--squash", action="store_true", help="whole photos made square, as the authors do; not their centre"
            )
        if name == "writers":
            command.add_argument("--task", choices=writers.TASKS, default="digit", help="what to predict")
    return parser


def _common(parser: argparse.ArgumentParser, size: int) -> None:
    """Options of every dataset."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--size", type=_positive, default=size, metavar="N", help="height and width (default %(default)s)"
    )


def _positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
