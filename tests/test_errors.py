import errno

import pytest

from carclf.errors import UserError, sentence_in
from carclf.files import write_atomically


def test_what_a_user_may_not_open_is_one_sentence(tmp_path, monkeypatch):
    def forbidden(*arguments, **how):
        raise PermissionError(errno.EACCES, "Permission denied", "x")

    monkeypatch.setattr("tempfile.mkstemp", forbidden)
    with pytest.raises(PermissionError) as caught:
        write_atomically(tmp_path / "metrics.json", b"{}")
    wrapped = RuntimeError("by a library")
    wrapped.__cause__ = caught.value
    for error in (caught.value, wrapped):
        assert sentence_in(error) == (
            f"{tmp_path / 'metrics.json'} could not be opened (Permission denied): make it and its folder readable and "
            "writable, or name another place."
        )


def test_other_errors_are_bugs():
    assert sentence_in(ValueError("x")) is None
    assert sentence_in(PermissionError("without a file")) is None
    assert sentence_in(UserError("a b.")) == "a b."
