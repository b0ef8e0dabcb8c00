"""Chapter 08."""

from answers import Answers

ANSWERS = {
    "r26": Answers(
        right=("share = share.to_dict()", "share = share.round(1)"),
        wrong=("share = share / 100", "share = 100 - share", "share = dict.fromkeys(share.keys(), share.iloc[0] + 1)"),
    ),
    "r31": Answers(
        right=("pixels = pixels.assign(euclid=2 * pixels['euclid'])", "pixels = pixels.sample(frac=1, random_state=0)"),
        wrong=("pixels = pairs", "pixels = pixels.iloc[: len(pixels) // 2]", "pixels = pixels.drop(columns='euclid')"),
    ),
}
