"""Chapter 09."""

from answers import Answers

ANSWERS = {
    "a24": Answers(
        right=("clear = set(clear)", "clear = sorted(clear)"),
        wrong=("clear = [*ablations(size)][:3]", "clear = None", "clear = ['no such row']"),
    ),
    "a29": Answers(
        right=(
            "mine = lambda a, **options: torch.relu(a.loss_v0 - a.loss_f)",
            "mine = lambda a, **options: 3 * (a.loss_v0 - a.loss_f).clamp(min=0) ** 1.5",
        ),
        wrong=(
            "mine = lambda a, **options: (a.loss_v0 - a.loss_f).square()",  # eq. 6 again: too much is as bad
            "mine = lambda a, **options: (a.loss_f - a.loss_v0).clamp(min=0)",  # the wrong way round
            "mine = lambda a, **options: a.loss_f",
        ),
    ),
}
