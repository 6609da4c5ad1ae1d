"""Names of files that are not complete yet."""

import re
import uuid


def unused_name(path: str) -> str:
    """Returns an unused name beside `path` that `is_temporary` recognises."""
    return f"{path}.{uuid.uuid4().hex[:12]}.tmp"


def is_temporary(name: str) -> bool:
    """Returns whether a name is from `unused_name`: such a file is nobody's data once its writer has ended."""
    return re.search(r"\.[0-9a-f]{12}\.tmp$", name) is not None
