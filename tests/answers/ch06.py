"""Chapter 06: its run of the reader's own is not needed."""

from answers import Answers

SKIP = ("06-16", "06-44", "06-46", "06-48", "06-17")
ANSWERS = {
    "06-22": Answers(right=("wins = np.int64(wins)",), wrong=("wins += 1", "best = 'scrub one-shui'", "best = ...")),
    "06-27": Answers(
        right=("unpaired = np.float32(unpaired)",),
        wrong=("unpaired = paired", "unpaired /= 2", "unpaired = ...", "best = unpaired = ..."),
    ),
}
