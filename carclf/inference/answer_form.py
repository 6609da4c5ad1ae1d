"""Which form a prediction is written in: the data set's own, or that of the sample it is asked to follow."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from carclf import storage
from carclf.data.manifest import Manifest
from carclf.forms import Form, Sample, read_sample, read_sample_file, recognise
from carclf.inference.submission import default_form
from carclf.storage import copies

ADVICE = "give the competition's own with --sample=FILE"


class AnswerPlan(NamedTuple):
    """The form, the sample to follow or None, and notes, one sentence each."""

    form: Form
    sample: Sample | None
    notes: tuple[str, ...] = ()


def plan_answers(manifest: Manifest, *, sample_file: str, held_out: bool, form: str, positive: str) -> AnswerPlan:
    """Returns how to write the answers for photos of a data set.

    Args:
      manifest: the data set.
      sample_file: the value of `--sample`; "" takes the data set's own.
      held_out: whether the photos are those of a fold, which no sample lists unless `sample_file` is given.
      form: the value of `--form`.
      positive: the value of `--positive`.

    Raises:
      UserError: the sample cannot be read, or does not ask for this form or these classes.
    """
    own = manifest.form
    sample = given_sample(sample_file, own=own) if sample_file else _own_sample(manifest, held_out=held_out)
    return plan_form(own, sample, class_labels=manifest.class_labels, form=form, positive=positive)


def plan_form(
    own: Form | None, sample: Sample | None, *, class_labels: Sequence[str], form: str, positive: str
) -> AnswerPlan:
    """Returns how to write answers.

    Args:
      own: the form that the runs' data set was converted with, or None.
      sample: the sample to follow, or None.
      class_labels: the K labels as the competition writes them.
      form: the value of `--form`.
      positive: the value of `--positive`.

    Raises:
      UserError: the sample does not ask for this form or these classes.
    """
    asked = form != "auto" or bool(positive)
    if own and not asked and (sample is None or _is_covered(own, sample)):
        return AnswerPlan(own, sample)
    if sample is None and not asked:
        return AnswerPlan(default_form(), None)
    shown = sample or _ids_only(own)
    labels = own.answer_columns[0] if own else default_form().answer_columns[0]
    found = recognise(shown, class_labels, form=form, positive=positive, label_column=labels)
    return AnswerPlan(found.form, sample, found.notes)


def given_sample(file: str, *, own: Form | None) -> Sample:
    """Returns the sample at the path that `--sample` gives.

    Args:
      file: the path.
      own: the form that the runs' data set was converted with, or None.

    Raises:
      UserError: there is no such file, or it cannot be read.
    """
    return read_sample_file(copies.local_path(file), what="sample submission", advice=ADVICE, **_layout_of(own))


def _own_sample(manifest: Manifest, *, held_out: bool) -> Sample | None:
    path = None if held_out else manifest.sample_submission
    if path is None:
        return None
    if storage.size_bytes(path) is None:  # one sentence for a file that was removed
        return read_sample_file(copies.local_path(path), what="sample submission", advice=ADVICE)
    return read_sample(storage.read_bytes(path), shown=path, advice=ADVICE, **_layout_of(manifest.form))


def _layout_of(form: Form | None) -> dict[str, Any]:
    return {"id_column": form.id_column, "has_header": form.has_header} if form else {}


def _is_covered(form: Form, sample: Sample) -> bool:
    """Returns whether a sample has the form's columns; columns of answers may be missing where it has Ids only."""
    needed = form.header if len(sample.header) > 1 else (form.id_name,)
    return set(needed) <= set(sample.header) and sample.id_column == form.id_name


def _ids_only(form: Form | None) -> Sample:
    """Returns a sample without rows that has a column of Ids alone."""
    form = form or default_form()
    name = form.id_name
    return Sample("The data set", header=(name,), rows=(), ids=(), id_column=name, has_header=form.has_header)
