"""The packages behind the schemes of URLs: how each is installed, opened, and given credentials."""

import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import Any

from carclf.extras import install_command

CONNECTIONS = 128  # at once, to one store: photos are small, and a request takes tens of milliseconds


@dataclasses.dataclass(frozen=True, eq=False)
class Package:
    """What fsspec needs for a scheme.

    Attributes:
      name: of the package on the index.
      extra: of carclf, which installs it.
      credentials: where it finds them, for error texts.
      options: of its file system.
    """

    name: str
    extra: str
    credentials: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_S3 = Package(
    "s3fs",
    "s3",
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws, or FSSPEC_S3_ANON=true for a public bucket",
    {"config_kwargs": {"max_pool_connections": CONNECTIONS}},  # its own limit is 10
)
_GCS = Package("gcsfs", "gcs", "gcloud auth application-default login, or FSSPEC_GS_TOKEN=anon for a public bucket")
_AZURE = Package("adlfs", "azure", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
_HF = Package("huggingface_hub", "hf", "HF_TOKEN, or hf auth login")

# These store objects: there are no folders, and an object appears whole when its upload ends.
PACKAGES: dict[str, Package] = {
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "az": _AZURE,
    "abfs": _AZURE,
    "hf": _HF,
}


def prepare(scheme: str) -> None:
    """Sets up the package of a scheme before it is imported."""
    if not (package := PACKAGES.get(scheme)):
        return
    logging.getLogger(package.name).setLevel(logging.CRITICAL)  # gcsfs logs a stack trace of each error that it raises
    # gcsfs asks by gRPC what kind each bucket is; a test server, which speaks HTTP only, would make it wait a minute.
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def missing_package(scheme: str, reason: str = "") -> str:
    """Returns the error text for a scheme whose package is not installed.

    Args:
      scheme: of the URL.
      reason: what fsspec says.
    """
    if package := PACKAGES.get(scheme):
        return f"{scheme}:// needs {package.name}, which is not installed: {install_command(package.extra)}."
    if reason:
        return f"{scheme}:// needs a package that is not installed ({reason.rstrip('.')}): install that with pip."
    return f"{scheme}:// needs fsspec, which is not installed: pip install fsspec, and what it asks for {scheme}://."
