"""Without an image's name `rebuild.py`, which is `make test-images`, rebuilds all; with names only those."""

import sys

import pytest

from tests.images import rebuild

ALL = ["colab", "colab_tpu", "kaggle", "kaggle_tpu"]


@pytest.mark.parametrize(("words", "images"), [([], ALL), (["kaggle", "colab"],) * 2], ids=["all", "two"])
def test_which_images_are_rebuilt(monkeypatch, words, images):
    rebuilt: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(rebuild, "rebuild", lambda image, *, steps, suite: rebuilt.append((image, list(steps))))
    monkeypatch.setattr(sys, "argv", ["rebuild.py", *words])
    rebuild.main()
    assert rebuilt == [(image, ["pack", "help", "demo", "notebooks", "suite"]) for image in images]


def test_every_path_of_the_quick_suite_is_there():
    assert [path for path in rebuild.QUICK_SUITE if not (rebuild.ROOT / path).exists()] == []


def test_an_image_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rebuild.py", "kaggle", "sagemaker"])
    with pytest.raises(SystemExit):
        rebuild.main()
    assert "there is no image sagemaker" in capsys.readouterr().err
