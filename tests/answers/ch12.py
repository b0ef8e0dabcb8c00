"""Chapter 12."""

from answers import Answers

ANSWERS = {
    "12-32": Answers(
        right=("cost = np.float32(cost)", "strangers = dict(strangers)"),
        wrong=("strangers = factors", "cost = None", "cost = 1e3", "strangers = {}"),
    ),
    "12-37": Answers(
        right=("cost = {damping: np.float32(value) for damping, value in cost.items()}", "cost = cost | {2: 0.0}"),
        wrong=(
            "cost = dict.fromkeys(cost, 1e3)",
            "cost = {method.damping: cost[method.damping]}",
            "cost = {**cost, 1: 1e3}",
        ),
    ),
}
