"""The page of a data set that the converter made from photos with every kind of finding."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_page import Page

from carclf.convert.converter import convert
from carclf.convert.options import ConvertOptions
from carclf.data.manifest import ClassEntry, load_manifest
from carclf.errors import UserError
from carclf.report import eda
from carclf.report.eda import write_eda
from carclf.report.findings import find
from carclf.report.photo_table import duplicate_groups, fold_counts, photo_table
from carclf.synthetic.draw import draw_jpeg

SCRIPT = "<script>alert(1)</script>"
CLASSES = ("saloon", SCRIPT, "estate")
SIZES = [(64, 48)] * 3 + [(48, 64)]


def drawn(number: int) -> bytes:
    return draw_jpeg(kind=number % 3, photo_id=f"{number}.jpg", seed=3, size=SIZES[number % 4])


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    """18 training photos: one is black, two are the same with different labels, one is also in test."""
    folder = tmp_path_factory.mktemp("cars")
    black = io.BytesIO()
    Image.new("RGB", (64, 48)).save(black, "JPEG")
    photos = {f"train/{number % 3}/{number}.jpg": drawn(number) for number in range(18)}
    photos |= {f"test_upload/{number}.jpg": drawn(number) for number in range(100, 104)}
    photos |= {"train/1/twin.jpg": drawn(3), "test_upload/leak.jpg": drawn(4), "train/2/black.jpg": black.getvalue()}
    photos["train/0/bad<b>.jpg"] = drawn(5)[:400]
    for name, content in photos.items():
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    train = [name.split("/")[1:] for name in photos if name.startswith("train/")]
    (folder / "in/train.csv").write_text("Id,Category\n" + "".join(f"{name},{label}\n" for label, name in train))
    test = [name.split("/")[1] for name in photos if name.startswith("test")]
    (folder / "in/sample-submission.csv").write_text("Id,Category\n" + "".join(f"{name},0\n" for name in test))
    (folder / "names").write_text("\n".join(CLASSES))
    options = {"input": folder / "in", "output": folder / "set", "classes": folder / "names"}
    convert(ConvertOptions(**{name: str(path) for name, path in options.items()}, folds=2, workers=1, on_bad="skip"))
    return load_manifest(str(folder / "set"))


@pytest.fixture(scope="module")
def html(cars, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "eda.html"
    write_eda(cars, path=path, show=["twin.jpg", "leak.jpg"])
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(html):
    return Page(html).text


def section(text: str, heading: str, until: str) -> str:
    start = text.index(heading)
    return text[start : text.index(until, start)]


def test_the_page_has_the_counts_of_the_data_set(text):
    for figure in ("Training photos 20", "Test photos 5", "Classes 3", "Folds 2", "Rejected photos 1"):
        assert figure in text


def test_findings_that_need_attention_come_first(text):
    found = section(text, "Rejected photos 1", "Requested photos")
    assert "! 1 group of duplicates (1 of them equal byte for byte) has different labels." in found
    assert "! 1 group of duplicates (1 of them equal byte for byte) has photos in both training and test." in found
    assert "! 1 photo of the input could not be used." in found
    assert found.rindex("!") < found.index("✓")
    assert "✓ Classes are about equally frequent: 6 to 7 photos each." in found


def test_twins_and_leaks_are_shown_with_label_and_fold(text):
    twins = section(text, "Same picture, different labels", "In both training and test")
    assert "1 group" in twins
    assert "exact" in twins
    assert f"saloon fold {fold_of(text, '3.jpg')}" in twins
    assert "twin.jpg" in twins
    leaks = section(text, "In both training and test", "Rejected photos")
    assert "test leak.jpg" in leaks
    assert "4.jpg" in leaks


def fold_of(text: str, name: str) -> str:
    return text[: text.index(f" {name}")].rpartition("fold ")[2]


def test_rejected_photos_have_their_reason(cars, text):
    (reason,) = pd.read_csv(f"{cars.directory}/rejected.csv")["reason"]
    table = section(text, "Rejected photos These photos", "Sizes Sizes of the stored")
    assert f"bad<b>.jpg train 0 {reason}" in table


def test_photos_that_the_converter_remarked_on_are_shown_first_among_the_odd_ones(tmp_path):
    files = {f"{number % 2}/{number}.jpg": drawn(number) for number in range(8)}
    files["0/4.jpg"] = files["0/4.jpg"][:900] + bytes(range(1, 200)) + files["0/4.jpg"][900:]
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    convert(ConvertOptions(input=str(tmp_path / "in"), output=str(tmp_path / "set"), folds=2, workers=1))
    write_eda(load_manifest(str(tmp_path / "set")), path=tmp_path / "eda.html")
    text = Page((tmp_path / "eda.html").read_text(encoding="utf-8")).text
    assert "The converter remarked on 1 photo: look at them." in text
    assert "Remarked on by the converter (1)" in text
    assert "bytes of its scan are left over: it may show damage" in text


def test_every_photo_can_be_searched(cars, text):
    listed = section(text, "All photos Search", "Conversion Folder")
    for name in ("train", "test"):
        assert set(cars.read_ids(name)["id"]) <= set(listed.split())


def test_requested_photos_are_shown_with_their_label(text):
    requested = section(text, "Requested photos", "Classes Training photos")
    assert SCRIPT in requested
    assert "twin.jpg" in requested
    assert "test leak.jpg" in requested


def test_sizes_light_and_odd_photos(cars, text):
    sizes = section(text, "Most frequent, width × height", "Light")
    photos = photo_table(cars)
    lying = int((photos["width"] > photos["height"]).sum())
    assert f"64×48 {lying} {4 * lying}.0 %" in sizes
    assert f"48×64 {25 - lying} {100 - 4 * lying}.0 %" in sizes
    assert "estate fold" in section(text, "Darkest", "Brightest").split("brightness 0 black.jpg")[0]
    assert "brightness 0 black.jpg" in text
    assert "contrast 0 black.jpg" in section(text, "Least contrast", "Most compressed")
    assert "Fewest pixels" not in text  # all have as many


def test_folds_are_counted_by_class(cars, text):
    counts = fold_counts(photo_table(cars), cars)
    table = section(text, "Folds Training photos", "All photos Search")
    assert "saloon " + " ".join(map(str, counts.loc[0])) + " 6" in table
    assert "total " + " ".join(map(str, counts.sum())) + " 20" in table


def test_the_page_needs_no_network_and_no_script(html):
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in addresses)
    assert sum(value.startswith("data:") for value in addresses) == page.tags.count("img") > 30
    assert "default-src 'none'" in html
    assert page.tags.count("svg") == 5
    ids = [value for name, value in page.attributes if name == "id"]
    assert {value.removeprefix("#") for value in addresses if value.startswith("#") and "-" not in value} >= {"classes"}
    assert {value for name, value in page.attributes if name == "href" and value.startswith("#")} <= {
        f"#{name}" for name in ids
    } | {value for value in addresses if value.startswith("#m")}


def test_nothing_that_a_name_contains_becomes_markup(html, text):
    assert SCRIPT not in html
    assert SCRIPT in text
    assert "<b>.jpg" not in html


def test_a_data_set_without_lists_and_test_photos_has_a_page(dataset, tmp_path):
    write_eda(dataset, path=tmp_path / "eda.html")
    text = Page((tmp_path / "eda.html").read_text()).text
    assert "There are none" in text
    assert "None: the decoder used for training" in text


def test_an_unknown_photo_is_refused_before_any_work(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(eda, "survey_photos", None)
    with pytest.raises(UserError, match=r"no photo 'x\.jpg' in .*: --show takes ids .*such as 'train000\.jpg'"):
        write_eda(dataset, path=tmp_path / "eda.html", show=["x.jpg"])


def test_the_number_of_pictures_is_bounded_and_the_rest_is_listed(cars, tmp_path, monkeypatch):
    monkeypatch.setattr(eda, "SAMPLE_PHOTOS", 2)
    monkeypatch.setattr(eda, "GROUPS_PICTURED", 0)
    monkeypatch.setattr(eda, "ODD_PHOTOS", 1)
    monkeypatch.setattr(eda, "LISTED_PHOTOS", 24)
    write_eda(cars, path=tmp_path / "eda.html")
    page = Page((tmp_path / "eda.html").read_text())
    averages, samples, odd = 2 + 1, 2, 4
    assert page.tags.count("img") == averages + samples + odd
    assert "1 more groups" in page.text
    assert "twin.jpg" in page.text
    assert "All photos Search" not in page.text


def test_for_very_many_classes_only_the_totals_of_folds_are_shown(cars, tmp_path, monkeypatch):
    monkeypatch.setattr(eda, "FOLD_CLASSES", 2)
    write_eda(cars, path=tmp_path / "eda.html")
    table = section(Page((tmp_path / "eda.html").read_text()).text, "Folds Training photos", "All photos Search")
    assert "saloon" not in table
    assert "total total 10 10 20" in table


def findings(manifest, photos, **changes) -> str:
    given = {"groups": [], "rejected": 0, "folds": fold_counts(photos, manifest)} | changes
    return " ".join(f"{'+' if f.good else '-'} {f.text}" for f in find(photos, manifest=manifest, **given))


def test_uneven_folds_and_classes_and_different_light_are_found(dataset):
    import dataclasses

    photos = photo_table(dataset).assign(brightness=100.0)
    photos.loc[photos["split"] == "test", "brightness"] = 60.0
    folds = fold_counts(photos, dataset) * 10
    folds.loc[1, 2] += 12
    classes = (ClassEntry(0, "0", "rare", 10), ClassEntry(1, "1", "often", 30), ClassEntry(2, "2", "some", 20))
    found = findings(dataclasses.replace(dataset, classes=classes), photos, folds=folds)
    assert "- The largest class, often (30), has 3.0 times the photos of the smallest, rare (10)" in found
    assert "- The folds are uneven, most of all in often: fold 2 has" in found
    assert "- Test photos are darker than training photos (60 and 100 of 255)." in found
    assert "+ Every class is spread evenly over the 3 folds." in findings(dataset, photos)


def test_groups_keep_the_converters_notes(cars):
    groups = duplicate_groups(cars, photo_table(cars))
    assert {(group.kind, group.notes) for group in groups} == {
        ("exact", ("different labels",)),
        ("exact", ("train/test leak",)),
    }
    photos = photo_table(cars)
    assert sorted(photos["id"][number] for group in groups for number in group.members) == [
        "3.jpg", "4.jpg", "leak.jpg", "twin.jpg",
    ]  # fmt: skip


def test_the_most_similar_come_first(cars):
    photos = photo_table(cars)
    number_of = dict(zip(photos["id"], photos.index, strict=True))
    near, far = (eda.Group("near", (), (number_of["3.jpg"], number_of[other])) for other in ("twin.jpg", "black.jpg"))
    similarity = eda._similarity([far, near], photos, cars)
    assert similarity[near] == pytest.approx(1.0)
    assert similarity[far] < 0.5
    assert np.isfinite(similarity[far])
