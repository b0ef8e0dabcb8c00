"""Chapter 04."""

from answers import Answers

ANSWERS = {
    "04-x03": Answers(
        right=("single = single.astype('float64')",),
        wrong=("single = ratio", "single = single[:100]", "single = np.sqrt(single)", "single[999:] = 0"),
    ),
    "04-x08": Answers(
        right=("moved = {sigma: np.float32(length) for sigma, length in moved.items()}",),
        wrong=("moved = {0.5: moved[30.0], 30.0: moved[0.5]}", "moved = {0.5: 1.0, 30.0: 1.0}"),
    ),
}
