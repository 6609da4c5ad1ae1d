#!/usr/bin/env bash
# fsspec returns the whole file for a byte range of an http:// URL if the server does not know ranges.
#
# Versions: fsspec 2026.9.0, aiohttp 3.14.5, Python 3.11 (its http.server is such a server).
# Expected: `cat_file(url, start, end)` and `cat_ranges` return end − start bytes, or raise. A server may ignore the
# Range header and answer with status 200 and everything, as RFC 9110 section 14.2 allows.
# Seen: a file opened with `open()` raises for such a server. `cat_file` and `cat_ranges`, which read records and
# Parquet columns in parallel, do not look at the status: every range is the whole file. Of a file of records, each
# range then begins with the first record, which has a valid checksum.
#
# Output seen:
#   cat_file(4, 8) of 26 bytes: 26 bytes, b'abcd'…
#   cat_ranges of two ranges: 26 bytes, 26 bytes
#   open, seek(4), read(4): ValueError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fsspec==2026.9.0 aiohttp==3.14.5
"$folder/venv/bin/python" - <<'PYTHON' | tee "$folder/seen"
import functools
import http.server
import string
import tempfile
import threading
from pathlib import Path

import fsspec

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "letters").write_text(string.ascii_lowercase)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/letters"
    web = fsspec.filesystem("http")
    part = web.cat_file(url, 4, 8)
    print(f"cat_file(4, 8) of 26 bytes: {len(part)} bytes, {part[:4]}…")
    parts = web.cat_ranges([url, url], [0, 4], [4, 8])
    print("cat_ranges of two ranges:", ", ".join(f"{len(part)} bytes" for part in parts))
    try:
        with web.open(url, block_size=4) as file:
            file.seek(4)
            shown = file.read(4)
    except Exception as error:
        shown = type(error).__name__
    print(f"open, seek(4), read(4): {shown}")
    server.shutdown()
PYTHON
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
