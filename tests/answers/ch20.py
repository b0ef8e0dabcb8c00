"""Chapter 20."""

from answers import Answers

PARAMETERS = {"size": "smoke"}
ANSWERS = {
    "ltu-32": Answers(
        right=("slope_of = lambda w, a, alpha: np.float64(a * w + (1 - alpha * a) * (w - alpha * a * w - 1))",),
        wrong=(
            "slope_of = lambda w, a, alpha: a * w + (1 - alpha * a) * w - 1",
            "slope_of = lambda w, a, alpha: a * w + (w - alpha * a * w - 1)",  # without the Hessian
            "slope_of = 0.5",
        ),
    ),
    "ltu-37": Answers(
        right=("without = {part: np.float32(value) for part, value in reversed(without.items())}",),
        wrong=(
            "without = {part: value + 1 for part, value in without.items()}",
            "without = {'remember': without['forget'] + 5, 'forget': without['remember'] + 5}",
            "del without['forget']",
        ),
    ),
}
