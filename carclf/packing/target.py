"""What a pack is made for: a Python on Linux, and the packages that are already there."""

import dataclasses
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from carclf.errors import UserError
from carclf.text_file import read_text

# The images of notebook sites, each with the place where a folder of the user's appears.
IMAGES: dict[str, str] = {
    "kaggle": "/kaggle/input/{name}",
    "kaggle_tpu": "/kaggle/input/{name}",
    "colab": "/content/drive/MyDrive/{name}",
    "colab_tpu": "/content/drive/MyDrive/{name}",
}
LISTS = Path(__file__).parent / "images"
SYSTEM, MACHINE = "Linux", "x86_64"
# The oldest C library that a wheel may ask for, up to that of the images (Ubuntu 22.04).
PLATFORMS = (
    *(f"manylinux_2_{minor}_{MACHINE}" for minor in range(35, 4, -1)),
    *(f"manylinux{name}_{MACHINE}" for name in ("2014", "2010", "1")),
    f"linux_{MACHINE}",
)
# Packages that share a folder: any of them stands for all.
TENSORFLOWS = frozenset({"tensorflow", "tensorflow-cpu", "tensorflow-tpu"})
_PYTHON = re.compile(r"^# Python (\d+\.\d+)\s*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Target:
    """The machine of the notebook.

    Attributes:
      image: the value of `--image`; "" for a machine of which nothing is known.
      python: major and minor version.
      packages: version of each package that is there, by its normalised name; "" if only the name is known.
    """

    image: str
    python: str
    packages: Mapping[str, str]

    @property
    def has_tensorflow(self) -> bool:
        """Whether a TensorFlow is there, under any of its names."""
        return bool(TENSORFLOWS & set(self.packages))

    def version_of(self, name: str) -> str | None:
        """Returns the version of a package that is there, or of one that stands for it; None if there is none."""
        names = TENSORFLOWS if name in TENSORFLOWS else (name,)
        return next((self.packages[one] for one in sorted(names) if one in self.packages), None)

    def environment(self) -> dict[str, str]:
        """Returns the variables of environment markers (PEP 508) there."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": MACHINE,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": SYSTEM,
            "platform_version": "",
            "python_full_version": f"{self.python}.9",  # markers that name a micro version want an old one excluded
            "python_version": self.python,
            "sys_platform": "linux",
        }


def find_target(image: str, python: str) -> Target:
    """Returns the target of `--image` and `--python`.

    Args:
      image: a name in `IMAGES`, the path of a list as `pip list --format=freeze` prints it, or "".
      python: a version that carclf runs on; "" for the image's, or else this one.

    Raises:
      UserError: the list cannot be read, or names no package.
    """
    if not image:
        return Target("", python or this_python(), {})
    path = LISTS / f"{image}.txt" if image in IMAGES else Path(image)
    text = read_text(path, what="list of packages")
    packages = parse_packages(text)
    if not packages:
        raise UserError(
            f"The list of packages {path} names none: write what pip list --format=freeze prints there into it."
        )
    own = _PYTHON.search(text)
    return Target(image, python or (own[1] if own else this_python()), packages)


def this_python() -> str:
    """Returns the version of this Python, major and minor."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def parse_packages(text: str) -> dict[str, str]:
    """Returns the version of each package in the text of a list, without carclf itself; "" where it stands nowhere."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:==\s*([^\s;]+)|@\s)", line.strip()):
            found[canonicalize_name(match[1])] = match[2] or ""
    found.pop("carclf", None)
    return found


def mounted_at(image: str, name: str) -> str:
    """Returns where a folder called `name` appears in a notebook of the image; of an unknown one, as on Kaggle.

    Kaggle writes the name of a data set in small letters, digits and hyphens.
    """
    place = IMAGES.get(image, IMAGES["kaggle"])
    if place.startswith("/kaggle/"):
        name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "pack"
    return place.format(name=name)
