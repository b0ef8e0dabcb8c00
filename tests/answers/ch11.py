"""Chapter 11: how fast it is needs no answer."""

from answers import Answers

SKIP = ("11-16",)
ANSWERS = {
    "11-20": Answers(
        right=("changed = {int(photo): np.float32(change) for photo, change in reversed(changed.items())}",),
        wrong=(
            "changed = dict.fromkeys(changed, changed[next(iter(changed))] + 0.1)",
            "changed.popitem()",
            "changed = {photo: -change - 0.01 for photo, change in changed.items()}",
        ),
    ),
    "11-25": Answers(
        right=("dear = {name: round(float(points), 3) for name, points in reversed(dear.items())}",),
        wrong=("dear = {name: points + 1 for name, points in dear.items()}", "dear.popitem()"),
    ),
}
