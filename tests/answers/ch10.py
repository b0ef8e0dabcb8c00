"""Chapter 10."""

from answers import Answers

ANSWERS = {
    "q22": Answers(
        right=(
            "apart = {way: np.float32(value) for way, value in apart.items()}",
            "apart = dict(reversed(apart.items()))",
        ),
        wrong=(
            "apart = {way: value / 2 for way, value in apart.items()}",
            "apart = {'union': 0.0, 'share': apart['share']}",
            "apart = {'union': apart['union']}",
        ),
    ),
    "q27": Answers(
        right=("mended = [*mended]", "mended = [with_parameters(one, parameters(one)) for one in mended]"),
        wrong=(
            "mended = reached[1:]",  # as it was
            "mended = [serve(original, photos[[k]]) for k in range(len(photos))]",  # always from the original
            "mended = mended[:-1]",
            """
now, mended = original, []
for k in range(len(photos)):  # the original's own steps: of the right length, from the wrong model
    now = with_parameters(now, {name: value + usual[k][name] for name, value in parameters(now).items()})
    mended.append(now)
""",
        ),
    ),
}
