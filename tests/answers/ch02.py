"""Chapter 02."""

from answers import Answers

ANSWERS = {
    "02-x03": Answers(
        right=("loss = loss.astype('float32')[['test', 'forget', 'support']].iloc[::-1]",),
        wrong=("loss = loss.iloc[::-1].set_axis(loss.index)", "loss['support'] = loss['test']", "loss = loss.round(1)"),
    ),
    "02-x08": Answers(
        right=("repaired = Scores(*(round(value, 9) for value in repaired))",),
        wrong=("repaired = before", "repaired = gold", "repaired = Scores(*(100 * value for value in repaired))"),
    ),
}
