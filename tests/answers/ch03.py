"""Chapter 03."""

from answers import Answers

ANSWERS = {
    "03-x03": Answers(
        right=("scored = scored.astype('float32')",),
        wrong=("scored.loc[[0.5, 2.0]] = 0", "scored = scored / 100", "scored = scored.drop(2.0)"),
    ),
    "03-x08": Answers(
        right=("ratio = {eta: torch.tensor(numbers) for eta, numbers in ratio.items()}",),
        wrong=(
            "ratio = {eta: [first, 0.0] for eta, (first, _) in ratio.items()}",
            "ratio = {eta: [eta * number for number in numbers] for eta, numbers in ratio.items()}",
            "ratio = dict.fromkeys(ratio, ratio[0.1])",
        ),
    ),
}
