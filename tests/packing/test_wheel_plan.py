"""Which wheels are planned for each image: nothing that is there moves, and what is brought fits it. No network."""

import re

import pytest
from packaging.requirements import Requirement

from carclf.errors import UserError
from carclf.packing.install import PYTHONS
from carclf.packing.own_wheel import make_own_wheel
from carclf.packing.target import IMAGES, Target, find_target, parse_packages
from carclf.packing.wheel_plan import Release, plan_wheels

# Releases of a small index, the newest first, with what they require.
RELEASES = {
    "ai-edge-litert": {"2.3.0": ["numpy>=1.23", "backports-strenum; python_version < '3.14'", "flatbuffers", "tqdm"]},
    "astunparse": {"1.6.3": ["six", "wheel"]},
    "backports-strenum": {"1.2.8": []},
    "flatbuffers": {"25.12.19": []},
    "google-crc32c": {"1.9.0": []},
    "google-pasta": {"0.2.0": ["six"]},
    "jinja2": {"3.1.6": ["MarkupSafe>=2.0", "Babel>=2.7; extra == 'i18n'"]},
    "libclang": {"18.1.1": []},
    "onnx": {"1.23.2": ["numpy>=1.23", "protobuf>=6.31", "ml_dtypes>=0.5"], "1.22.0": ["protobuf>=4.25", "ml_dtypes"]},
    "onnxruntime": {"1.32.0": ["numpy>=1.21.6", "protobuf", "flatbuffers", "packaging"]},
    "python-multipart": {"0.0.34": []},
    "requests": {"2.34.2": ["urllib3>=1.26,<3", "certifi", "idna<4", "charset-normalizer<4"]},
    "simplejpeg": {"1.9.0": ["numpy>=1.19"]},
    "starlette": {"1.10.0": ["anyio>=3.6.2,<5"]},
    "tensorboard": {"2.20.0": ["six", "protobuf>=3.19.6"]},
    "tensorflow-cpu": {
        "2.21.0": ["keras>=3.14", "six"],
        "2.20.0": ["keras>=3.10", "astunparse>=1.6", "google-pasta>=0.1.1", "libclang", "tensorboard~=2.20.0"],
    },
    "tf2onnx": {"1.17.0": ["numpy>=1.14.1", "onnx>=1.4.1", "requests", "six", "flatbuffers>=1.12"]},
    "uvicorn": {"0.54.0": ["click>=7.0", "h11>=0.8", "typing-extensions>=4.0; python_version < '3.11'"]},
    "wheel": {"0.48.0": ["packaging>=24.0"]},
}


def newest(lines):
    """An index of `RELEASES`."""
    found = []
    for line in lines:
        requirement = Requirement(line)
        fitting = [v for v in RELEASES.get(requirement.name, {}) if requirement.specifier.contains(v)]
        if not fitting:
            raise LookupError(requirement.name)
        found.append(Release(requirement.name, fitting[0], RELEASES[requirement.name][fitting[0]], "0" * 64))
    return found


def planned(image: str, *extras: str, index=newest) -> list[str]:
    own = make_own_wheel()
    chosen = plan_wheels(own.requirements, extras=extras, target=find_target(image, ""), index=index)
    return [f"{one.name} {one.version}" for one in chosen]


EXPORT = ["ai-edge-litert 2.3.0", "backports-strenum 1.2.8"]


@pytest.mark.parametrize(
    ("image", "extras", "wheels"),
    [
        ("kaggle", (), ["simplejpeg 1.9.0"]),
        ("colab", (), ["simplejpeg 1.9.0"]),
        ("kaggle_tpu", (), ["google-crc32c 1.9.0", "jinja2 3.1.6", "simplejpeg 1.9.0"]),
        (
            "colab_tpu",
            ("cpu",),  # its own Keras 3.13 is too old for the newest TensorFlow
            [
                "astunparse 1.6.3", "google-pasta 0.2.0", "libclang 18.1.1", "simplejpeg 1.9.0", "tensorboard 2.20.0",
                "tensorflow-cpu 2.20.0", "wheel 0.48.0",
            ],
        ),
        ("kaggle", ("serve",), ["simplejpeg 1.9.0"]),
        (
            "kaggle",
            ("export",),  # its own protobuf 5 is too old for the newest ONNX
            [
                *EXPORT, "onnx 1.22.0", "onnxruntime 1.32.0", "requests 2.34.2", "simplejpeg 1.9.0", "tf2onnx 1.17.0",
            ],
        ),
        (
            "kaggle_tpu",
            ("export", "serve"),
            [
                *EXPORT, "google-crc32c 1.9.0", "jinja2 3.1.6", "onnx 1.23.2", "onnxruntime 1.32.0",
                "python-multipart 0.0.34", "simplejpeg 1.9.0", "starlette 1.10.0", "tf2onnx 1.17.0", "uvicorn 0.54.0",
            ],
        ),
        ("kaggle", ("cpu",), ["simplejpeg 1.9.0"]),  # tensorflow stands for tensorflow-cpu
    ],
    ids=str,
)  # fmt: skip
def test_the_wheels_of_each_image(image, extras, wheels):
    assert planned(image, *extras) == wheels


@pytest.mark.parametrize("image", IMAGES)
def test_the_index_is_asked_for_nothing_that_is_there(image):
    asked = []
    target = find_target(image, "")

    def index(lines):
        asked.extend(Requirement(line).name for line in lines)
        return newest(lines)

    planned(image, "export", "serve", *([] if target.has_tensorflow else ["cpu"]), index=index)
    assert "simplejpeg" in asked
    assert {target.version_of(name) for name in asked} == {None}


@pytest.mark.parametrize("image", IMAGES)
def test_the_list_of_an_image_says_its_python_and_its_source(image):
    target = find_target(image, "")
    assert target.python in PYTHONS
    assert {"numpy", "keras", "jax", "matplotlib", "packaging"} <= set(target.packages)
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in target.packages.values())
    assert target.has_tensorflow is (image != "colab_tpu")
    assert find_target(image, "3.11").python == "3.11"


def test_markers_are_those_of_the_target():
    lines = [
        "old; python_version < '3.12'",
        "new; python_version >= '3.13'",
        "win; sys_platform == 'win32'",
        "extra-less",
    ]
    index = lambda names: [Release(Requirement(name).name, "1", (), "") for name in names]  # noqa: E731
    for python, wanted in (("3.11", ["extra-less", "old"]), ("3.13", ["extra-less", "new"])):
        chosen = plan_wheels(lines, extras=[], target=Target("", python, {}), index=index)
        assert [one.name for one in chosen] == wanted


def test_two_demands_on_a_package_are_met_together():
    releases = {"a": {"1": ["c<3"]}, "b": {"1": ["c!=2.5"]}, "c": {"3": [], "2.5": [], "2": []}}

    def index(lines):
        found = []
        for line in map(Requirement, lines):
            version = next(v for v in releases[line.name] if line.specifier.contains(v))
            found.append(Release(line.name, version, releases[line.name][version], ""))
        return found

    chosen = plan_wheels(["a", "b", "c"], extras=[], target=Target("", "3.12", {}), index=index)
    assert [(one.name, one.version) for one in chosen] == [("a", "1"), ("b", "1"), ("c", "2")]


def test_an_image_that_is_too_old_is_refused():
    with pytest.raises(UserError) as caught:
        plan_wheels(["pandas>=2.1"], extras=[], target=Target("old.txt", "3.11", {"pandas": "1.5"}), index=newest)
    assert str(caught.value) == (
        "carclf needs pandas>=2.1, and the image old.txt has pandas 1.5, which a pack does not move: give --image a "
        "newer image, or the list of one."
    )


def test_what_fits_in_no_release_is_refused():
    with pytest.raises(UserError) as caught:
        plan_wheels(["onnx>=1.23"], extras=[], target=Target("a.txt", "3.12", {"protobuf": "5.29"}), index=newest)
    assert "No wheel of onnx for Python 3.12 fits the image a.txt (carclf needs onnx>=1.23)" in str(caught.value)
    with pytest.raises(
        UserError, match=r"No wheel of unheard-of for Python 3.12 fits a machine of which nothing is known"
    ):
        plan_wheels(["unheard-of"], extras=[], target=Target("", "3.12", {}), index=newest)


def test_an_index_of_endless_releases_ends():
    def endless(lines):
        return [Release("a", str(len(Requirement(lines[0]).specifier)), ["b>2"], "")]

    with pytest.raises(UserError, match=r"No wheel of a for Python 3.12 fits the image x \(b>2\)"):
        plan_wheels(["a"], extras=[], target=Target("x", "3.12", {"b": "1"}), index=endless)


def test_an_index_that_answers_something_else_is_refused():
    for answer in ([], [Release("a", "1", (), "")]):
        with pytest.raises(UserError, match=r"No wheel of a for Python 3.12 fits .* \(carclf needs a>=2\)"):
            plan_wheels(["a>=2"], extras=[], target=Target("", "3.12", {}), index=lambda _, answer=answer: answer)


def test_lists_of_packages_are_read_as_pip_prints_them(tmp_path):
    text = "# Python 3.12\nnumpy==2.1.3\nGoogle.Pasta==0.2\ntorch==2.8.0+cpu\nown @ file:///x\ncarclf==0.1.0\n-e .\n\n"
    assert parse_packages(text) == {"numpy": "2.1.3", "google-pasta": "0.2", "torch": "2.8.0+cpu", "own": ""}
    path = tmp_path / "installed.txt"
    path.write_text(text)
    assert find_target(str(path), "").python == "3.12"
    path.write_text("nothing\n")
    with pytest.raises(UserError, match="names none: write what pip list --format=freeze prints there into it"):
        find_target(str(path), "")
    with pytest.raises(UserError, match=r"The list of packages .*absent.txt cannot be read"):
        find_target(str(tmp_path / "absent.txt"), "")
