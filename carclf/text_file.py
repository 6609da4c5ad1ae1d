"""Reads text files and CSVs that a person wrote, whatever editor saved them."""

import codecs
import csv
import io
import os
import re
from pathlib import Path

from carclf.errors import UserError

DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
# UTF-32 before UTF-16, whose mark it begins with.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path, *, what: str) -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Args:
      path: the file.
      what: what it is, for error texts, such as 'flag file'.

    Raises:
      UserError: it cannot be read, or it is not text in one of these encodings.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"The {what} {path} cannot be read ({reason}): give the path of a text file.") from None
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"The {what} {path} is not {encoding.removesuffix('-sig').upper()} text (at byte {error.start}): save it "
            "as UTF-8."
        ) from None
    if "\0" in text:
        raise UserError(f"The {what} {path} is not text (it holds a NUL byte): save it as UTF-8 text.")
    return text


def csv_lines(text: str, *, delimiter: str = ",") -> list[tuple[int, tuple[str, ...]]]:
    """Returns the rows of a CSV, each with its line, from 1: the last one if its cells hold line breaks.

    Rows of blank cells do not count: spreadsheets write them below a table.

    Raises:
      csv.Error: it is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [(reader.line_num, tuple(row)) for row in reader if any(map(str.strip, row))]


def without_separator_line(text: str) -> tuple[str, str]:
    """Returns (the text of a CSV, what separates its cells): a comma, semicolon, tab or bar, or what Excel's line says.

    That first line, such as `sep=;`, becomes an empty one, so that the others keep their numbers.
    """
    if told := SEPARATOR_LINE.match(text):
        return f"\n{text[told.end() :]}", told[1]
    return text, max(DELIMITERS, key=text.split("\n", 1)[0].count)


def encoding_of(content: bytes) -> str:
    """Returns the encoding of a text according to its byte order mark, UTF-8 without one."""
    return next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
