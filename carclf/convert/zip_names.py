"""Detects the encoding of the names in a zip if nothing declares it: Windows writes them in the user's code page.

A name that is not flagged as UTF-8 is bytes. Each encoding here has a test of whether its words look like words; if
only one encoding passes for every name of a zip, it is taken.
"""

import re
import zipfile
from collections.abc import Callable, Sequence

UTF8_FLAG = 0x800  # Source: APPNOTE.TXT 4.4.4, bit 11
_WORD = re.compile(r"[^\W\d_]+")


def _is_cyrillic(word: str) -> bool:
    return bool(re.fullmatch(r"[\u0400-\u045f]+", word)) and not re.search(r"[а-яё][А-ЯЁ]", word)


def _is_latin(word: str) -> bool:
    """Returns whether accented letters stand among plain ones; Cyrillic words read as Latin have no plain letters."""
    return bool(re.fullmatch(r"[A-Za-z\u00c0-\u017f]+", word)) and 2 * sum(c.isascii() for c in word) >= len(word)


def _consists_of(letters: str) -> Callable[[str], bool]:
    """Returns a test for several of these letters, perhaps among plain ones; a single one must stand alone."""
    pattern = re.compile(f"[A-Za-z]*[{letters}]{{2,}}[A-Za-z]*|[{letters}]")
    return lambda word: bool(pattern.fullmatch(word))


_ENCODINGS: dict[str, Callable[[str], bool]] = {
    "cp866": _is_cyrillic,
    "cp1251": _is_cyrillic,
    "cp850": _is_latin,
    "gb2312": _consists_of(r"\u4e00-\u9fff"),
    "cp949": _consists_of(r"\uac00-\ud7a3"),
    "cp932": _consists_of(r"\u3040-\u30ff\u4e00-\u9fff"),
}


def unflagged_names(archive: zipfile.ZipFile) -> list[bytes]:
    """Returns the raw names that are neither ASCII nor flagged as UTF-8."""
    infos = (info for info in archive.infolist() if not info.flag_bits & UTF8_FLAG)
    return [info.orig_filename.encode("cp437") for info in infos if not info.orig_filename.isascii()]


def likely_encodings(names: Sequence[bytes]) -> list[str]:
    """Returns the encodings in which all names read as words; only UTF-8 if it decodes them all."""
    if _decoded(names, "utf-8") is not None:
        return ["utf-8"]
    found = []
    for encoding, is_word in _ENCODINGS.items():
        texts = _decoded(names, encoding)
        if texts is not None and all(_reads(text, is_word) for text in texts):
            found.append("gbk" if encoding == "gb2312" else encoding)
    return found


def _decoded(names: Sequence[bytes], encoding: str) -> list[str] | None:
    try:
        return [name.decode(encoding) for name in names]
    except UnicodeDecodeError:
        return None


def _reads(text: str, is_word: Callable[[str], bool]) -> bool:
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    rest = _WORD.sub("", text)
    return bool(words) and rest.isascii() and all(is_word(word) for word in words)
