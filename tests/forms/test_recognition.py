import json
import re

import pytest

from carclf.errors import UserError
from carclf.forms import Form, read_sample, recognise
from carclf.schema import typed

TEN = [str(k) for k in range(10)]
DRIVERS = [f"c{k}" for k in range(10)]
BREEDS = ["affenpinscher", "african_hunting_dog", "boxer"]
WHALES = ["new_whale", "w_1287fbc", "w_1eafe46", "w_7554f44", "w_98baff9"]
TURTLES = ["new_turtle", "t_id_a", "t_id_b", "t_id_c"]
SPECIES = ["Black-grass", "Maize", "Sugar beet"]


def seen(header, *cells, rows=2, shown="sample.csv", **how):
    """Returns the sample of a header and the answer cells of every row."""
    lines = [header, *(",".join([f"p{row}.jpg", *cells]) for row in range(rows))]
    return read_sample("\n".join(lines).encode(), shown=shown, **how)


# Competition → its sample's header, the cells of a row, its classes, and the form: kind and details.
COMPETITIONS = {
    "sf-dl-car-classification": ("Id,Category", ["0"], TEN, "label", {}),
    "dog-breed-identification": (
        "id," + ",".join(BREEDS),
        ["0.33"] * 3,
        BREEDS,
        "probabilities",
        {"column_classes": tuple(BREEDS)},
    ),
    "state-farm": ("img," + ",".join(DRIVERS), ["0.1"] * 10, DRIVERS, "probabilities", {"answer_columns": (*DRIVERS,)}),
    "cassava": ("image_id,label", ["4"], TEN[:5], "label", {}),
    "petals": ("id,label", ["0"], TEN, "label", {}),
    "paddy-disease": ("image_id,label", [""], ["blast", "normal"], "label", {}),
    "plant-seedlings": ("file,species", ["Sugar beet"], SPECIES, "label", {}),
    "dogs-vs-cats-redux": ("id,label", ["0.5"], ["cat", "dog"], "probability", {"positive": "dog"}),
    "aptos2019": ("id_code,diagnosis", ["0"], TEN[:5], "label", {}),
    "aerial-cactus": ("id,has_cactus", ["0.5"], ["0", "1"], "probability", {"positive": "1"}),
    "hotel-id-2021": ("image,hotel_id", ["3 1 0 9 8"], TEN, "ranking", {"k": 5, "separator": " "}),
    "whale-categorization": ("Image,Id", [" ".join(WHALES)], WHALES, "ranking", {"k": 5}),
    "landmark-recognition-2020": ("id,landmarks", ["9 0.1"], TEN, "scored_label", {"answer_columns": ("landmarks",)}),
    "turtle-recall": (
        "image_id,prediction1,prediction2,prediction3",
        ["t_id_b", "t_id_a", "new_turtle"],
        TURTLES,
        "ranking",
        {"k": 3, "answer_columns": ("prediction1", "prediction2", "prediction3")},
    ),
    "iwildcam-2019": ("Id,Category", ["0"], [*TEN, "22"], "label", {}),
    "plant-pathology-2021": ("image,labels", ["healthy"], ["healthy", "rust scab", "scab"], "label", {}),
}


@pytest.mark.parametrize("name", COMPETITIONS)
def test_the_sample_of_a_competition_says_its_form(name):
    header, cells, classes, kind, details = COMPETITIONS[name]
    form, _ = recognise(seen(header, *cells), classes)
    assert (form.kind, form.header) == (kind, tuple(header.split(",")))
    assert {key: getattr(form, key) for key in details} == details
    assert typed(json.loads(json.dumps(form.to_dict())), Form, at="form") == form


@pytest.mark.parametrize("column", ["Class_{}", "p(class {})"])
def test_a_column_for_each_of_very_many_classes_is_recognised(column):
    classes = [f"class {n:05}" for n in range(50_000)]  # comparing each with every other would take minutes
    columns = [column.format(f"{n:05}") for n in range(50_000)]
    sample = seen(",".join(["id", *columns]), *["0.5"] * 50_000, rows=1)
    form, notes = recognise(sample, classes)
    assert (form.kind, form.answer_columns, form.column_classes, notes) == (
        "probabilities",
        tuple(columns),
        tuple(classes),
        (),
    )


def test_the_positive_class_is_a_guess_with_a_note_only_where_no_name_says_it():
    sample = seen("id,label", "0.5")
    form, notes = recognise(sample, ["cat", "dog"])
    assert form.positive == "dog"
    assert notes == (
        "The column label of sample.csv is taken for the probability of dog, the second of the two classes: "
        "carclf.predict --positive=cat takes the other.",
    )
    assert recognise(sample, ["cat", "dog"], positive="Cat") == (
        Form("probability", ("id", "label"), ("label",), positive="cat"),
        (),
    )
    for classes, positive in [(["0", "1"], "1"), (["no", "Yes"], "Yes"), (["False", "True"], "True")]:
        assert recognise(sample, classes) == (Form("probability", ("id", "label"), ("label",), positive=positive), ())
    assert recognise(seen("name,invasive", "0.5"), ["invasive", "native"]).form.positive == "invasive"
    assert recognise(sample, ["1", "2"]).form.positive == "2"


@pytest.mark.parametrize("cell", ["0", "1"])
def test_the_same_0_or_1_everywhere_is_asked_about(cell):
    sample = seen("id,label", cell)
    text = f"Every label of sample.csv is {cell}, .* --form=label or --form=probability"
    with pytest.raises(UserError, match=text):
        recognise(sample, ["0", "1"])
    assert recognise(sample, ["0", "1"], form="label").form.kind == "label"
    assert recognise(sample, ["0", "1"], form="probability").form.positive == "1"
    assert recognise(sample, ["0", "1"], positive="0").form.positive == "0"


def test_both_labels_or_a_fraction_tell_labels_from_probabilities():
    both = read_sample(b"id,label\na,0\nb,1\n", shown="s.csv")
    assert recognise(both, ["0", "1"]).form.kind == "label"
    assert recognise(seen("id,label", "0.0"), ["0", "1"]).form.kind == "probability"


def test_columns_match_the_classes_loosely_and_keep_the_samples_order():
    form, _ = recognise(seen("id,Sugar_Beet,maize,BLACK-GRASS", "0", "0", "1"), SPECIES)
    assert form.answer_columns == ("Sugar_Beet", "maize", "BLACK-GRASS")
    assert form.column_classes == ("Sugar beet", "Maize", "Black-grass")
    form, _ = recognise(seen("id,p_c1,p_c0", "0", "0"), ["c0", "c1"])
    assert dict(zip(form.answer_columns, form.column_classes, strict=True)) == {"p_c1": "c1", "p_c0": "c0"}


def test_columns_that_are_no_probabilities_are_copied_from_the_sample():
    form, _ = recognise(seen("id,a,b,Usage", "0.5", "0.5", "Public"), ["a", "b"])
    assert (form.answer_columns, form.header) == (("a", "b"), ("id", "a", "b", "Usage"))
    form, _ = recognise(seen("id,Usage,label", "Public", "a"), ["a", "b"], label_column="Label")
    assert (form.kind, form.answer_columns) == ("label", ("label",))


@pytest.mark.parametrize(
    ("header", "cells", "classes", "text"),
    [
        ("id,c0,c1", ["0", "0"], ["c0", "c1", "c2"], "has columns for 2 of the 3 classes, none for c2: "),
        ("id,c0,c9", ["0", "0"], ["c0", "c1"], "for 1 of the 2 classes, none for c1, and also c9, which no"),
        ("id,c0,c1,c2", ["0"] * 3, ["c0", "c1"], "for 2 of the 2 classes, and also c2, which no training photo"),
        ("id,x,y", ["0.1", "0.2"], ["a", "b"], "columns x, y beside its Ids.* as --sample=FILE"),
        ("id,top1,top2", ["z", "a"], ["a", "b"], "columns top1, top2 beside its Ids.* or --form=ranking if they"),
        ("id,top1,top2", ["a", "a"], ["a", "b"], "or --form=ranking if they hold the likeliest labels in order"),
        ("id,top2,top3", ["a", "b"], ["a", "b"], "give a copy of it with one column of answers"),
        ("id,top2,top1", ["a", "b"], ["a", "b"], "give a copy of it with one column of answers"),
        ("id,x1,x2,y1,y2", ["a", "b"] * 2, ["a", "b"], "give a copy of it with one column of answers"),
        ("id,label", ["z"], ["a", "b"], r"'z' in the column label, which is none of the 2 classes \(a, b\)"),
        ("id,label", ["0.5"], ["a", "b", "c"], "'0.5' in the column label"),
        ("id,label", ["0"], ["cat", "dog"], r"numbers such as 0 in the column label.* --form=label to answer with the"),
        ("id,label", ["a z"], ["a", "b"], "'a z' in the column label"),
        ("id,label", ["a b"], ["a", "b", "c d"], "'a b' in the column label"),
    ],
)
def test_a_sample_of_other_classes_is_refused(header, cells, classes, text):
    with pytest.raises(UserError, match=text):
        recognise(seen(header, *cells), classes)


@pytest.mark.parametrize(
    ("form", "cells", "classes", "text"),
    [
        ("probability", ["a"], ["a", "b", "c"], "for two classes, but there are 3"),
        ("probabilities", ["0.5"], ["a", "b"], "for 0 of the 2 classes, none for a, b"),
        ("ranking", [""], ["a", "b"], re.escape("--form='ranking(5)'")),
        ("ranking(2)", [""], ["a b", "c"], "'a b' does"),
        ("rank", [""], ["a"], "--form=rank is not a form: choose auto, label, probability, probabilities, ranking"),
        ("label(3)", [""], ["a"], re.escape("--form=label(3) is not a form")),
        ("ranking(0)", [""], ["a"], re.escape("--form=ranking(0) is not a form")),
    ],
)
def test_a_form_that_the_sample_cannot_hold_is_refused(form, cells, classes, text):
    with pytest.raises(UserError, match=text):
        recognise(seen("id,label", *cells), classes, form=form)


def test_a_positive_class_is_refused_where_none_is_asked_for():
    with pytest.raises(UserError, match=r"--positive=b is for the form probability, but sample\.csv asks for label"):
        recognise(seen("id,label", "a"), ["a", "b"], positive="b")
    with pytest.raises(UserError, match="--positive=x is none of the classes: choose one of a, b"):
        recognise(seen("id,label", "0.5"), ["a", "b"], positive="x")


def test_a_list_of_ids_asks_for_labels_and_takes_any_form():
    ids = read_sample(b"image\na\nb\n", shown="test.csv")
    assert recognise(ids, ["x", "y"]).form == Form("label", ("image", "label"), ("label",))
    assert recognise(ids, ["x", "y"], label_column="breed").form.header == ("image", "breed")
    assert recognise(ids, ["x", "y"], form="ranking(5)").form.k == 5
    form, _ = recognise(ids, ["x", "y"], form="probabilities")
    assert (form.header, form.column_classes) == (("image", "x", "y"), ("x", "y"))


def test_the_ids_may_be_in_another_column():
    sample = read_sample(b"label,id\na,1\nb,2\n", shown="s.csv", id_column="id")
    form, _ = recognise(sample, ["a", "b"])
    assert (form.id_name, form.header, form.answer_columns) == ("id", ("label", "id"), ("label",))


def test_the_fullest_cell_says_how_many_labels():
    sample = read_sample(b"id,label\na,x\nb,x;y;z\nc,\n", shown="s.csv")
    form, _ = recognise(sample, ["x", "y", "z"])
    assert (form.kind, form.k, form.separator) == ("ranking", 3, ";")


@pytest.mark.parametrize("header", ["id,top0,top1,Usage", "id,Top-01,Top-02,Usage"])
def test_numbered_columns_hold_the_labels_of_a_ranking(header):
    form, notes = recognise(seen(header, "", "", "Public"), ["a", "b", "c"])
    assert (form.kind, form.k, form.answer_columns, notes) == ("ranking", 2, tuple(header.split(",")[1:3]), ())


def test_numbered_columns_of_other_labels_hold_a_ranking_if_the_user_says_so():
    sample = seen("id,top1,top2", "z", "z")
    assert recognise(sample, ["a", "b"], form="ranking").form == recognise(sample, ["a", "b"], form="ranking(2)").form
    with pytest.raises(UserError, match=r"ranking\(5\)' does not fit sample.csv, which has 2 columns for labels"):
        recognise(sample, ["a", "b"], form="ranking(5)")


def test_numbered_columns_of_two_classes_of_these_names_hold_probabilities():
    form, _ = recognise(seen("id,c0,c1", "0", "1"), ["c0", "c1"])
    assert form.kind == "probabilities"


def test_columns_without_names_hold_a_ranking():
    sample = read_sample(b"a.jpg,x,y\nb.jpg,y,x\n", shown="s.csv", has_header=False)
    form, _ = recognise(sample, ["x", "y", "z"])
    assert (form.kind, form.answer_columns, form.has_header) == ("ranking", ("column 2", "column 3"), False)
