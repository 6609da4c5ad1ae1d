"""Recognises the form of the answers from a sample submission."""

import re
from collections.abc import Sequence

from carclf.errors import UserError
from carclf.forms.evidence import Evidence, Recognised, gather, require_answer
from carclf.forms.kinds import FORMS
from carclf.forms.sample_file import Sample
from carclf.wording import first_of

AUTO = "auto"
_NAME = re.compile(r"(\w+)(?:\((\d+)\))?")


def check_form(text: str) -> None:
    """Checks the value of `--form`.

    Raises:
      UserError: it is neither auto nor a form.
    """
    parse_form(text)


def parse_form(text: str) -> tuple[str, int]:
    """Returns (kind, k) of a text such as 'auto', 'label' or 'ranking(5)'; k is 0 where none is given.

    Raises:
      UserError: there is no such form.
    """
    found = _NAME.fullmatch(text)
    kind, k = (found[1], int(found[2] or 0)) if found else ("", 0)
    if kind not in (AUTO, *FORMS) or (found and found[2] is not None and (kind != "ranking" or k < 1)):
        raise UserError(f"--form={text} is not a form: choose auto, {', '.join(FORMS)}, or for example 'ranking(5)'.")
    return kind, k


def recognise(
    sample: Sample, classes: Sequence[str], *, form: str = AUTO, positive: str = "", label_column: str = ""
) -> Recognised:
    """Returns the form that a sample submission asks for, and notes about it.

    Args:
      sample: the sample submission, or a list of Ids, which asks for labels unless `form` says otherwise.
      classes: the labels of the classes as the competition writes them, in label order.
      form: 'auto' reads the form from the sample's columns and cells; a key of `FORMS`, or such as 'ranking(5)'.
      positive: the class whose probability is asked for; "" finds it by its name.
      label_column: the training CSV's column of labels, which names the answers where several columns could hold them.

    Raises:
      UserError: columns or labels are not the classes, several forms are possible, or the sample cannot hold `form`.
    """
    kind, k = parse_form(form)
    evidence = gather(sample, classes, positive=positive, k=k, label_column=label_column)
    if kind == AUTO:
        kind = _only_fit(evidence)
    recognised = FORMS[kind].build(evidence)
    if positive and not recognised.form.positive:
        raise UserError(
            f"--positive={positive} is for the form probability, but {sample.shown} asks for {kind}: leave it out."
        )
    return recognised


def foreign_answers(sample: Sample, classes: Sequence[str], *, form: str, label_column: str) -> set[str]:
    """Returns the labels in the answers of a sample submission if they are none of the classes, else nothing.

    Args:
      sample: the sample submission.
      classes: the labels of the classes, in label order.
      form: as for `recognise`.
      label_column: as for `recognise`.
    """
    kind, k = parse_form(form)
    evidence = gather(sample, classes, positive="", k=k, label_column=label_column)
    try:
        fits = any(row.fits(evidence) for name, row in FORMS.items() if kind in (AUTO, name))
    except UserError:  # its columns are other classes
        return set()
    answers = {label for cell in evidence.cells for label in cell.split()}
    return set() if fits or answers & set(classes) else answers


def _only_fit(evidence: Evidence) -> str:
    """Returns the kind of the one form that fits."""
    fitting = [kind for kind, row in FORMS.items() if row.fits(evidence)]
    if "probability" in fitting and evidence.positive:
        return "probability"
    if len(fitting) == 1:
        return fitting[0]
    require_answer(evidence)
    if fitting:
        flags = " or ".join(f"--form={kind}" for kind in fitting)
        raise UserError(
            f"Every {evidence.answer} of {evidence.shown} is {evidence.cells[0]}, which can stand for several kinds of "
            f"answers: say which with {flags}."
        )
    known = set(evidence.classes)
    outside = [cell for cell in evidence.cells if cell not in known]
    count = len(evidence.classes)
    if all(map(str.isdecimal, evidence.cells)) and not any(map(str.isdecimal, evidence.classes)):
        raise UserError(
            f"{evidence.shown} has numbers such as {outside[0]} in the column {evidence.answer}, and the {count} "
            f"classes have names ({first_of(evidence.classes)}): put a JSON file with the number of each name, such as "
            f'{{"{evidence.classes[0]}": 0}}, directly into the --input of the conversion, or give --form=label to '
            "answer with the names."
        )
    raise UserError(
        f"{evidence.shown} has {outside[0]!r} in the column {evidence.answer}, which is none of the {count} classes "
        f"({first_of(evidence.classes)}): correct the labels, or say what the column holds with --form=NAME "
        f"({', '.join(FORMS)})."
    )
