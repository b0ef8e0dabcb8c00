"""Chapter 01."""

from answers import Answers

DRAW_AGAIN = """
def draw_again(n_ids, reserved, seed=seed):
    again = torch.Generator().manual_seed(seed)
    same = split_identities(faces.identity, generator=again, config=experiment.config.split)
    return draw_request(faces.identity, same, n_ids=n_ids, generator=again, reserved=reserved)
"""

ANSWERS = {
    "01-x03": Answers(
        right=("leaked = lambda identity: np.float32(share_that_leaks(identity))",),
        wrong=("leaked = 1.0", "leaked = lambda identity: 1.0", "leaked = lambda identity: 0.0"),
    ),
    "01-x08": Answers(
        right=("alone = draw_again(few, reserved)",),
        wrong=(
            "alone = draw_again(few, 0)",
            "alone = draw_again(few + 1, reserved)",
            "alone = draw_again(few, reserved, 1)",
        ),
        helpers=DRAW_AGAIN,
    ),
}
