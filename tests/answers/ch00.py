"""Chapter 00."""

from answers import Answers

ANSWERS = {
    "00-x03": Answers(
        right=("on_support = {name: round(float(value), 1) for name, value in on_support.items()}",),
        wrong=("on_support = {name: value / 100 for name, value in on_support.items()}", "on_support = [50, 50]"),
    ),
    "00-x08": Answers(
        right=("known = known.astype('float32').sort_index(ascending=False)",),
        wrong=("known = known * 0 + known.loc[person]", "known = known / 100"),  # the first person's, repeated
    ),
}
