"""oneDNN is on unless the user or a resumed run says otherwise, and only where TensorFlow can still hear it."""

import sys

import pytest

from carclf import onednn


@pytest.fixture
def before_tensorflow(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(onednn, "_has_onednn", lambda: True)
    monkeypatch.setenv(onednn.VARIABLE, "")  # so that whatever is set is removed again
    monkeypatch.delenv(onednn.VARIABLE)


@pytest.mark.parametrize(
    ("begun_with", "users", "chosen"),
    [
        (None, None, "1"),
        (None, "0", "0"),
        ("", None, ""),  # a run of version 0.1, which left it to TensorFlow
        ("0", None, "0"),
        ("1", None, "1"),
        ("0", "1", "1"),
    ],
)
@pytest.mark.usefixtures("before_tensorflow")
def test_the_user_is_asked_first_then_the_resumed_run(begun_with, users, chosen, monkeypatch):
    if users is not None:
        monkeypatch.setenv(onednn.VARIABLE, users)
    assert onednn.choose_onednn(begun_with) == chosen


@pytest.mark.usefixtures("before_tensorflow")
def test_nothing_is_claimed_once_tensorflow_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    assert onednn.choose_onednn() == ""


@pytest.mark.usefixtures("before_tensorflow")
def test_another_processor_is_left_to_tensorflow(monkeypatch):
    monkeypatch.setattr(onednn, "_has_onednn", lambda: False)
    assert onednn.choose_onednn() == ""
