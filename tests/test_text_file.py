import pytest

from carclf import command
from carclf.convert.labels import class_names
from carclf.errors import UserError
from carclf.text_file import read_text
from carclf.train_options import TrainOptions

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
FLAGS = "# Größe → 3\n\n// as in absl\n--epochs=3\r\n  --augment=flip\n--run=é"


def parsed(path) -> TrainOptions:
    return command.parse_command_line(TrainOptions, [f"--flagfile={path}"], description="")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_flag_file_is_read_in_every_unicode_encoding(tmp_path, encoding):
    (tmp_path / "x.flags").write_bytes(FLAGS.encode(encoding))
    options = parsed(tmp_path / "x.flags")
    assert (options.epochs, options.augment, options.run) == (3, "flip", "é")


def test_the_first_line_counts_after_a_byte_order_mark(tmp_path):
    (tmp_path / "x.flags").write_bytes("--epochs=3".encode("utf-8-sig"))
    assert parsed(tmp_path / "x.flags").epochs == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"--epochs=3\nbatch_size=4\n",
            "Line 2 of the flag file PATH is not an option (batch_size=4): write --name=value",
        ),
        (b"epochs 3", "Line 1 of the flag file PATH is not an option (epochs 3): write"),
        ("—epochs=3".encode(), "Line 1 of the flag file PATH is not an option (—epochs=3): write"),
        (b"\x1b[31m" * 9, r"Line 1 of the flag file PATH is not an option ('\x1b[31m"),
        (b"--run=\xe9\n", "The flag file PATH is not UTF-8 text (at byte 6): save it as UTF-8."),
        (
            "--epochs=3".encode("utf-16-le"),
            "The flag file PATH is not text (it holds a NUL byte): save it as UTF-8",
        ),
        (b"\xff\xfe-\0-", "The flag file PATH is not UTF-16 text (at byte 4): save it as UTF-8."),
        (b"\x89PNG\r\n\x1a\n\0\0", "The flag file PATH is not UTF-8 text (at byte 0): save it as UTF-8."),
    ],
    ids=repr,
)
def test_what_is_no_flag_file_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "x.flags"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        parsed(path)
    assert str(caught.value).startswith(sentence.replace("PATH", str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_names_of_the_classes_are_read_in_every_unicode_encoding(tmp_path, encoding):
    (tmp_path / "names.txt").write_bytes("Škoda\r\nLada\n".encode(encoding))
    assert class_names(str(tmp_path / "names.txt")) == ["Škoda", "Lada"]


def test_a_folder_is_no_text_file(tmp_path):
    with pytest.raises(
        UserError, match=r"^The list .* cannot be read \(Is a directory\): give the path of a text file"
    ):
        read_text(tmp_path, what="list")
