import io
import lzma
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carclf.errors import UserError
from carclf.forms import read_sample, read_sample_file, sample_file
from carclf.forms.sample_file import Sample

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters='\r\n\0,;\t"\ufeff'), min_size=1)


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_cell_stays_the_text_it_is(delimiter, mark, end):
    lines = [delimiter.join(row) for row in (["Id", "Kind"], ["00012", " NA"], ["1e3", ""])]
    sample = read_sample(mark + end.join(lines).encode(), shown="s.csv")
    rows = (("00012", " NA"), ("1e3", ""))
    assert sample == Sample("s.csv", ("Id", "Kind"), rows, ("00012", "1e3"), "Id", delimiter)
    assert sample.cells("Kind") == (" NA", "")


@settings(max_examples=40)
@given(st.lists(TEXTS.filter(str.strip), min_size=1, unique=True))
def test_any_ids_are_read_as_they_are(ids):
    assert read_sample("\n".join(["Id", *ids]).encode(), shown="s.csv").ids == tuple(ids)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_every_encoding_with_a_mark_is_read(encoding):
    sample = read_sample("Id\tKind\nä\t0\n".encode(encoding), shown="s.csv")
    assert (sample.header, sample.ids) == (("Id", "Kind"), ("ä",))


def test_excels_first_line_says_what_separates_the_cells():
    sample = read_sample(b"\xef\xbb\xbfsep=;\r\nId;Kind,Size\r\na;0\r\n", shown="s.csv")
    assert (sample.header, sample.rows, sample.delimiter) == (("Id", "Kind,Size"), (("a", "0"),), ";")


@pytest.mark.parametrize("blank", ["", ";", " ;\t"])
def test_blank_rows_do_not_count(blank):
    lines = ["Id;Kind", "a;", blank, "b;0", blank, blank, ""]
    sample = read_sample("\n".join(lines).encode(), shown="s.csv")
    assert (sample.ids, sample.rows) == (("a", "b"), (("a", ""), ("b", "0")))


def test_the_id_column_may_be_named():
    sample = read_sample(b"number,name\n0,a\n0,b\n", shown="s.csv", id_column="name")
    assert (sample.ids, sample.id_column) == (("a", "b"), "name")


def test_a_table_without_header_is_read_from_its_first_line():
    sample = read_sample(b"a.jpg;0\nb.jpg;1\n", shown="s.csv", has_header=False)
    rows = (("a.jpg", "0"), ("b.jpg", "1"))
    assert sample == Sample("s.csv", ("column 1", "column 2"), rows, ("a.jpg", "b.jpg"), "column 1", ";", False)
    assert read_sample(b"a.jpg\n", shown="s.csv", has_header=False).ids == ("a.jpg",)


def test_a_zip_of_one_csv_is_that_csv(tmp_path):
    (tmp_path / "s.csv.zip").write_bytes(zipped(**{"s.csv": "Id\na\n", "__MACOSX/._s.csv": "x"}))
    assert read_sample_file(tmp_path / "s.csv.zip", what="sample", advice="give one").ids == ("a",)


def test_a_zip_that_unpacks_to_an_absurd_size_is_unpacked_by_the_user(monkeypatch):
    content = b"Id,Kind\n" + b"".join(b"%d,0\n" % number for number in range(99))
    packed = zipped(**{"s.csv": content})
    for name, value in (("MAX_BYTES", 400), ("RATIO_FREE_BYTES", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(sample_file, name, value)
            patch.setattr(sample_file, "MAX_RATIO", 0.5)
            with pytest.raises(UserError, match=r"^s\.zip unpacks to 0 MB, more than such a list holds: unpack it"):
                read_sample(packed, shown="s.zip")
            assert len(read_sample(content, shown="s.csv").ids) == 99  # as advised
    assert len(read_sample(packed, shown="s.zip").ids) == 99


@pytest.mark.parametrize("error", [zlib.error("invalid block"), lzma.LZMAError("corrupt"), EOFError(), OSError("bz2")])
def test_whatever_says_that_a_zip_is_damaged_it_is_one_sentence(monkeypatch, error):
    packed = zipped(**{"s.csv": "Id\na\n"})

    def read(archive, name):
        raise error

    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    with pytest.raises(UserError, match=r"^s\.zip cannot be unpacked \(.*\): give another\.$"):
        read_sample(packed, shown="s.zip", advice="give another")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Id,Kind\na,0\na,0\n", "s.csv has the Id 'a' twice: give another"),
        (b"Id,Kind\n", "no rows below its header"),
        (b"", "no rows"),
        (b"Id,Kind\na,0\nb\n", "line 3 has 1 of 2 cells"),
        (b"Id,Id\na,0\n", "the column 'Id' twice"),
        (b"Id,Kind\n,0\n", r"^s\.csv line 2 has no Id: give another\.$"),
        (b'Id,Kind\n"a\nb",0\n , \n,0\n', r"^s\.csv line 5 has no Id: give another\.$"),
        (b"Id,Kind\n,\n", "no rows below its header"),
        (b"Id,Kind\n\xff,0\n", "not UTF-8 .byte 8."),
        (b'Id,Kind\n"a,0\n', "is not CSV"),
        (zipped(a="", b=""), "holds 2 files instead of one CSV"),
        (b"PK\x03\x04xx", "cannot be unpacked"),
    ],
)
def test_a_malformed_sample_is_refused(content, text):
    with pytest.raises(UserError, match=text):
        read_sample(content, shown="s.csv", advice="give another")


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="no column 'key': its columns are Id, Kind"):
        read_sample(b"Id,Kind\na,0\n", shown="s.csv", id_column="key")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no sample submission .*gone\.csv: give one"):
        read_sample_file(tmp_path / "gone.csv", what="sample submission", advice="give one")
