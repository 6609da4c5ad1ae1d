"""Lists of paths with commas, in which a path may have commas itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carclf.path_lists import MAX_COMMAS, split_paths

THERE = {"a", "b", "a,b", "c, d", "x,y,z", "/in,here/a", "s3://b/x", "s3://b/x,y"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" , ", []),
        ("a", ["a"]),
        ("gone", ["gone"]),
        (" b ,a", ["b", "a"]),
        ("a,b", ["a,b"]),
        ("b,a", ["b", "a"]),
        ("b,a,b, c, d ,x,y,z", ["b", "a,b", "c, d", "x,y,z"]),
        ("x,y", ["x", "y"]),
        ("/in,here/a,/in,here/a", ["/in,here/a", "/in,here/a"]),
        ("s3://b/x,y,s3://b/x", ["s3://b/x,y", "s3://b/x"]),
        ("a,", ["a"]),
        (",a,b", ["a,b"]),
    ],
)
def test_what_exists_with_a_comma_is_one_name_and_the_longest_counts(text, names):
    assert split_paths(text, THERE.__contains__) == names


def test_two_urls_are_never_one_and_what_stands_alone_is_not_looked_up():
    asked = []
    split_paths("s3://b/x,s3://b/y", asked.append)
    split_paths("one", asked.append)
    assert asked == []


def test_the_folder_with_a_comma_makes_a_missing_path_one(tmp_path):
    folder = tmp_path / "cars, old"
    folder.mkdir()
    assert split_paths(f"a,{folder}/gone,b", lambda name: False) == ["a", f"{folder}/gone", "b"]


names = st.text("ab,c", min_size=1, max_size=MAX_COMMAS).filter(lambda name: name == name.strip(",") and name)


@given(found=st.lists(names, min_size=1, max_size=5))
def test_names_of_which_none_begins_as_another_are_found_again(found):
    marked = [f"<{name}>" for name in found]  # no name is the beginning of another
    assert split_paths(",".join(marked), set(marked).__contains__) == marked
