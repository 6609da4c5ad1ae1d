"""The table of forms."""

from carclf.errors import UserError
from carclf.forms.form import Form
from carclf.forms.kind import FormKind
from carclf.forms.labels import Label, Ranking, ScoredLabel
from carclf.forms.probabilities import Probabilities, Probability

FORMS: dict[str, FormKind] = {
    "label": Label(),
    "probability": Probability(),
    "probabilities": Probabilities(),
    "ranking": Ranking(),
    "scored_label": ScoredLabel(),
}


def kind_of(form: Form) -> FormKind:
    """Returns the row of `FORMS` for a form.

    Raises:
      UserError: there is none: the data set is from a newer carclf.
    """
    if form.kind not in FORMS:
        raise UserError(
            f"The data set asks for the form {form.kind!r}, which this version of carclf does not know: update it."
        )
    return FORMS[form.kind]
