"""A user's own data set: digits by writer, with a loader as CONTRIBUTING says and a name that nothing of ours knows."""

from pathlib import Path

import numpy as np
import pandas as pd

from data_prep import pictures
from data_prep.idx import read_idx
from data_prep.prepared import Description
from data_prep.raw import Download, md5

NAME, HOME = "my_digits", "https://github.com/facebookresearch/qmnist"
IMAGES, LABELS = "t10k-images-idx3-ubyte.gz", "qmnist-test-labels-idx2-int.gz"
CLASS, WRITER = 0, 2  # columns of the labels
WRITERS, MOST = 40, 12  # of each writer so many digits


def digits(folder: Path, raw: Path) -> None:
    """Write some digits of the writers with most of them.

    Args:
        raw: a folder with the two official files in it, somewhere.
    Raises:
        DataError: one of them is not there, or is no idx file.
    """
    with Download(raw) as download:
        files = download.need(IMAGES, LABELS, where=f"download it from {HOME}")
        images, labels = (read_idx(file) for file in files)
        sources = md5(files)
    count, names = len(images), pictures.numbered("test", len(images))
    rows = pd.DataFrame({"image": names, "identity": labels[:count, WRITER], "label": labels[:count, CLASS]})
    rows = rows.assign(row=np.arange(count))
    frequent = rows["identity"].value_counts(sort=True).index[:WRITERS]
    index = rows[rows["identity"].isin(frequent)].groupby("identity").head(MOST).reset_index(drop=True)
    classes = tuple("0123456789")
    about = {"name": NAME, "task": "multiclass", "classes": classes, "size": pictures.PAGE, "licence": "BSD-style"}
    kept = index.pop("row").to_numpy()
    pictures.write(pictures.padded(images[kept]), index, folder, Description(**about, sources=sources, flip=False))
