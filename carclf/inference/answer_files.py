"""Writes what was predicted: the submission and, if asked for, the probabilities."""

from collections.abc import Mapping, Sequence

import numpy as np

from carclf.inference.answer_form import AnswerPlan
from carclf.inference.decisions import Decision
from carclf.inference.submission import write_probabilities, write_submission
from carclf.storage import copies


def write_answers(
    probabilities: np.ndarray,
    decision: Decision,
    *,
    ids: Sequence[str],
    plan: AnswerPlan,
    class_labels: Sequence[str],
    class_names: Sequence[str],
    output: str,
    probabilities_file: str,
    source: str,
    prior_rows: Sequence[int] = (),
) -> Mapping[str, Sequence[str]]:
    """Writes the files, prints their names, and returns the answers by Id.

    Args:
      probabilities: [N, K].
      decision: makes the answers; the probabilities are written as they were before it.
      ids: of the N photos.
      plan: the form of the answers, and the sample to follow.
      class_labels: the K labels as the competition writes them.
      class_names: the K display names.
      output: the submission.
      probabilities_file: "" writes none.
      source: what made the answers, for the printed line.
      prior_rows: rows of photos that could not be read.

    Raises:
      UserError: a file cannot be written, or the answers do not fit the sample.
    """
    decided, labels = decision.apply(probabilities, prior_rows=prior_rows)
    answers = write_submission(
        output=copies.local_path(output, fetched=False),
        ids=ids,
        probabilities=decided,
        class_labels=class_labels,
        form=plan.form,
        sample=plan.sample,
        labels=labels,
    )
    if probabilities_file:
        write_probabilities(
            output=copies.local_path(probabilities_file, fetched=False),
            ids=ids,
            probabilities=probabilities,
            class_names=class_names,
            id_name=plan.form.id_name,
            order=plan.sample.ids if plan.sample else None,
        )
    shown = "" if plan.form.kind == "label" else f" of {plan.form.describe()}"
    print(f"Submission: {output} ({len(answers)} rows{shown}, {source})")
    if probabilities_file:
        print(f"Probabilities: {probabilities_file}")
    return answers
