"""Chapter 05, on likelihoods that are made here, members a little likelier."""

from chapters import chapter, code_cells

from answers import Answers

FIRST = "05-x02"  # the first cell that is run of the chapter, beside its imports
MADE = """
draw, identity = np.random.default_rng(0), {"members": np.repeat([1, 2], 6), "non_members": np.repeat([3, 4, 5], 6)}
sizes = {"members": 12, "non_members": 18, "population": 50}
cached = {
    form: {part: rmia.Signals(*draw.uniform(0.3, 0.9, (2, 8, size))) for part, size in sizes.items()}
    for form in ("original", "retrained_again")
}
cached["ssd one-shui"] = {part: rmia.Signals(*draw.uniform(0.3, 0.9, (2, 8, size))) for part, size in sizes.items()}
target = {form: {part: signals.model for part, signals in likely.items()} for form, likely in cached.items()}
reference = {form: {part: signals.reference for part, signals in likely.items()} for form, likely in cached.items()}


def likelihoods(model, reference):
    return {part: rmia.Signals(model[part], reference[part]) for part in model}


value = pd.DataFrame({form: {"rmia_auc": 50.0} for form in cached}).T
"""
EVIDENCE = """
def evidence(scores):
    return np.log((scores + 1e-3) / (1.001 - scores)).sum()


def people_by(statistic):
    global of_person
    of_person = statistic
    return images.groupby(["form", "group", "identity"])["score"].agg(statistic).reset_index()
"""

RUN = (FIRST, "05-02", "05-x01", "05-x03", "05-x06", "05-x07", "05-x08")
SKIP = [one["id"] for one in code_cells(chapter("05")) if one["id"] not in RUN]
BEFORE = {FIRST: "from shui_lib.attack import rmia\n" + MADE}
ANSWERS = {
    "05-x03": Answers(
        right=("people = people_by(evidence)", "people = people_by(np.median)"),
        wrong=("people = people_by(lambda one: one.iloc[0])", "of_person = np.median", "people = people.iloc[1:]"),
        helpers=EVIDENCE,
    ),
    "05-x08": Answers(
        right=("careless = dict(reversed(careless.items()))",),
        wrong=(
            "careless = cached",
            "careless = {name: likelihoods(target['original'], reference['original']) for name in target}",
            "careless = {'original': careless['original']}",
        ),
    ),
}
