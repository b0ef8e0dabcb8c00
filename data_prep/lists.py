"""Reading the lists that CelebA and CelebA-HQ share, and checking them against each other.

An identity list has rows `name id`. An attribute list opens with its number of rows and the attribute names,
then has rows `name ±1 ±1 …`. Windows line ends, a byte-order mark and repeated spaces are all fine. Kaggle's copies
are tables, `.csv` with the names of the columns in line 1 and no number of rows; a name may stand with its folder.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from data_prep.prepared import DataError, listed
from data_prep.raw import Folder, climbs, read

SIGNS = {"1": 1, "-1": 0}


def read_numbers(file: Folder, highest: int = 10**9) -> pd.Series:
    """A list of rows `name number`: identities, or partitions.

    Returns:
        int64 (N,), indexed by image name.
    Raises:
        DataError: bad or repeated rows, with their line numbers.
    """

    def number(fields: list[str]) -> int | None:
        good = len(fields) == 1 and fields[0].isascii() and fields[0].isdecimal()
        return int(fields[0]) if good and int(fields[0]) <= highest else None

    rows = _read_rows(
        file, _lines(file), 2 if _is_table(file) else 1, number, f"an image and a number from 0 to {highest}"
    )
    return pd.Series(rows, dtype=np.int64)


def read_attributes(file: Folder) -> pd.DataFrame:
    """An attribute list.

    Returns:
        uint8 (N, K), 1 where the list says 1 and 0 where it says -1, indexed by image name.
    Raises:
        DataError: a wrong head, bad or repeated rows (with line numbers), or a count that does not fit.
    """
    lines = _lines(file)
    count, attributes = _head(file, lines)

    def signs(fields: list[str]) -> np.ndarray | None:
        row = [SIGNS.get(field) for field in fields]
        return None if len(row) != len(attributes) or None in row else np.array(row, np.uint8)

    rows = _read_rows(file, lines, 2 if count is None else 3, signs, f"an image and {len(attributes)} times 1 or -1")
    if count is not None and len(rows) != count:
        raise DataError(
            f"{file}: line 1 promises {count} rows, found {len(rows)}: the file is cut short or edited, "
            "download it again"
        )
    return pd.DataFrame(np.stack(list(rows.values())), index=list(rows), columns=attributes)


def read_people(identities: Folder, attributes: Folder) -> pd.DataFrame:
    """Join an identity list and an attribute list.

    Returns:
        One row per image, in the order of the attribute list: `image`, `identity`, then the attributes (0/1).
    Raises:
        DataError: either list is broken, or they name different images.
    """
    return join(read_numbers(identities), read_attributes(attributes), f"{identities} and {attributes.name}")


def join(numbers: pd.Series, table: pd.DataFrame, names: str) -> pd.DataFrame:
    """Identities and attributes of the same images, see `read_people`; `names` are the files, for the message."""
    check_same_images(numbers, table, names)
    table.insert(0, "identity", numbers[table.index])
    return table.rename_axis("image").reset_index()


def check_same_images(first: pd.Series | pd.DataFrame, second: pd.Series | pd.DataFrame, names: str) -> None:
    """Both lists must name the same images.

    Args:
        names: the two files, for the message, such as 'identity.txt and attributes.txt'.
    Raises:
        DataError: images that stand in one list only, all counted.
    """
    only_first, only_second = first.index.difference(second.index), second.index.difference(first.index)
    if len(only_first) or len(only_second):
        raise DataError(
            f"{names} name different images; only in the first: {len(only_first)} ({listed(only_first)}); "
            f"only in the second: {len(only_second)} ({listed(only_second)}). Download both again"
        )


def refuse(file: Folder, problems: dict[str, list[str]]) -> None:
    """One error for all that is wrong in a file.

    Args:
        problems: what is wrong -> where, an empty list when nothing is.
    Raises:
        DataError: if any list is not empty.
    """
    found = [f"{len(where)} rows {what}: {listed(where)}" for what, where in problems.items() if where]
    if found:
        raise DataError(f"{file} has " + "; ".join(found) + ". Fix these rows or download the file again")


def _lines(file: Folder) -> list[str]:
    """Lines of a text file; a byte that is no UTF-8 becomes a mark that fits no valid row."""
    text = read(file).decode("utf-8-sig", errors="replace")
    return (text.replace(",", " ") if _is_table(file) else text).split("\n")


def _is_table(file: Folder) -> bool:
    return file.name.lower().endswith(".csv")


def _head(file: Folder, lines: list[str]) -> tuple[int | None, list[str]]:
    """Number of rows and attribute names, the first two lines of an attribute list; a table gives no number."""
    if _is_table(file) and len(names := lines[0].split()[1:]) == len(set(names) - {"image", "identity"}) > 0:
        return None, names
    count, names = lines[0].strip(), lines[1].split() if len(lines) > 1 else []
    if not (count.isascii() and count.isdecimal()) or len(set(names) - {"image", "identity"}) < max(1, len(names)):
        raise DataError(
            f"{file}: expected the number of rows in line 1 and distinct attribute names in line 2, "
            f"found {count[:40]!r} and {' '.join(names)[:40]!r}. Download the file again"
        )
    return int(count), names


def _read_rows(
    file: Folder, lines: list[str], first: int, parse: Callable[[list[str]], Any], expected: str
) -> dict[str, Any]:
    """Image name -> parsed value, for all lines from `first` on that are not empty."""
    rows: dict[str, Any] = {}
    bad, repeated, climbing = [], [], []
    for number, line in enumerate(lines[first - 1 :], first):
        if not (fields := line.split()):
            continue
        path, value = fields[0].replace("\\", "/"), parse(fields[1:])
        name = PurePosixPath(path).name
        if value is None:
            bad.append(f"line {number} ({line.strip()[:40]})")
        elif climbs(path):
            climbing.append(f"line {number} ({fields[0]})")
        elif name in rows:
            repeated.append(f"line {number} ({name})")
        else:
            rows[name] = value
    problems = {f"that are not {expected}": bad, "that repeat an image": repeated}
    refuse(file, problems | {"that leave the image folder": climbing})
    if not rows:
        raise DataError(f"{file} has no rows, expected {expected} in each. Download the file again")
    return rows
