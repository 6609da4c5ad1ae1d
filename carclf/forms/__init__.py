"""What an answer looks like: the form that a sample submission asks for, and the cells of each form.

No framework, and nothing heavy at import: the converter, the commands and the writer of submissions share it.
"""

from carclf.forms.form import Form
from carclf.forms.kinds import FORMS, FormKind, kind_of
from carclf.forms.recognition import check_form, foreign_answers, recognise
from carclf.forms.sample_file import Sample, read_sample, read_sample_file

__all__ = [
    "FORMS",
    "Form",
    "FormKind",
    "Sample",
    "check_form",
    "foreign_answers",
    "kind_of",
    "read_sample",
    "read_sample_file",
    "recognise",
]
