"""Miniatures of well-known competitions: their layout, their lists and their sample submission, with drawn photos.

The layouts are public facts. A photo's left half has the colour of its class, so a test can see whether a conversion
gave it the right label; its right half is noise of its own.
"""

import colorsys
import csv
import dataclasses
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from carclf.data import records

Files = dict[str, bytes]
Record = Mapping[str, bytes | int]
SIZE = (48, 40)  # width, height
PER_CLASS = 6


@dataclasses.dataclass(frozen=True)
class Competition:
    """One miniature, and what the converter must make of it.

    Attributes:
      name: of the competition or data set.
      draw: returns path → bytes of every file.
      counts: category → number of training photos, in label order; the n-th category has the n-th colour.
      test: the Ids of the test photos, sorted.
      form: the kind of answer; "" if there is no sample submission.
      flags: what the converter needs beyond --input and --output.
      names: the display names of the classes, where they are not the categories.
    """

    name: str
    draw: Callable[[], Files]
    counts: Mapping[str, int]
    test: Sequence[str] = ()
    form: str = ""
    flags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def photo(label: int, number: int, *, kind: str = "JPEG", size: tuple[int, int] = SIZE) -> bytes:
    """Returns a photo: the colour of its class on the left, noise of its own on the right.

    Args:
      label: of its class.
      number: of the photo.
      kind: Pillow's name of the format.
      size: width and height, pixels.
    """
    width, height = size
    rng = np.random.default_rng([label, number])
    pixels = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    pixels[:, : pixels.shape[1] // 2] = colour(label)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def colour(label: int) -> tuple[int, int, int]:
    """Returns the colour of a class, RGB in 0..255."""
    red, green, blue = colorsys.hsv_to_rgb(label / 8 % 1, 0.9, 0.9 - 0.5 * (label // 8 % 2))
    return round(255 * red), round(255 * green), round(255 * blue)


def table(header: str, rows: Iterable[Sequence[object]]) -> bytes:
    """Returns a CSV with this header line."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header.split(","), *rows])
    return text.getvalue().encode()


def zipped(files: Files) -> bytes:
    """Returns a zip of the files, stored."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tfrecord(photos: Iterable[Record]) -> bytes:
    """Returns a TFRecord file: each photo a mapping from feature name to its value."""
    return b"".join(records.frame(records.serialize_example(features)) for features in photos)


def folders(names: Sequence[str], path: str, *, first: int = 0, per_class: int = PER_CLASS) -> Files:
    """Returns photos in class folders; `path` has the places {name} and {number}."""
    numbers = [(label, first + label * per_class + n) for label in range(len(names)) for n in range(per_class)]
    return {path.format(name=names[label], number=n): _of_path(path, label, n) for label, n in numbers}


def flat(path: str, labels: Sequence[int], *, first: int = 0) -> Files:
    """Returns one photo for each label; `path` has the place {number}."""
    return {path.format(number=first + n): _of_path(path, label, first + n) for n, label in enumerate(labels)}


def _of_path(path: str, label: int, number: int) -> bytes:
    suffix = path.rpartition(".")[2].lower()
    return photo(label, number, kind={"png": "PNG", "tif": "TIFF"}.get(suffix, "JPEG"))


def ids(path: str, count: int, *, first: int = 0) -> list[str]:
    """Returns `count` Ids in the order of the sample submissions."""
    return [path.format(number=first + n) for n in range(count)]


def mixed(classes: int, per_class: int = PER_CLASS) -> list[int]:
    """Returns the labels of photos whose classes alternate."""
    return [n % classes for n in range(classes * per_class)]


def evenly(categories: Iterable[object], per_class: int = PER_CLASS) -> dict[str, int]:
    """Returns category → the same count."""
    return {str(category): per_class for category in categories}


TEST_LABELS = (0, 1, 0, 1)


def cars() -> Files:
    """sf-dl-car-classification: two zips beside a list and a sample."""
    names, tests = [str(n) for n in range(10)], ids("{number}.jpg", 4, first=900)
    train = folders(names, "train/{name}/{number}.jpg")
    return {
        "train.zip": zipped(train),
        "test.zip": zipped(flat("test_upload/{number}.jpg", TEST_LABELS, first=900)),
        "train.csv": table("Id,Category", [(path.split("/")[2], path.split("/")[1]) for path in train]),
        "sample-submission.csv": table("Id,Category", [(name, 0) for name in tests]),
    }


BREEDS = ("affenpinscher", "beagle", "chow", "dhole", "italian_greyhound")


def dogs() -> Files:
    """dog-breed-identification: Ids without extension, a column for each breed."""
    labels, names = mixed(5), sorted(BREEDS)
    listed = [(f"{n:04x}a", names[label]) for n, label in enumerate(labels)]
    files = {f"train/{i}.jpg": photo(names.index(breed), n) for n, (i, breed) in enumerate(listed)}
    tests = ids("{number:04x}b", 4)
    share = 1 / len(names)
    return {
        **files,
        **flat("test/{number:04x}b.jpg", TEST_LABELS),
        "labels.csv": table("id,breed", listed),
        "sample_submission.csv": table(",".join(["id", *names]), [[i, *[share] * len(names)] for i in tests]),
    }


DRIVER_CLASSES = tuple(f"c{n}" for n in range(10))


def drivers() -> Files:
    """state-farm-distracted-driver-detection: class folders below imgs/train, and a list with the drivers."""
    train = folders(DRIVER_CLASSES, "imgs/train/{name}/img_{number}.jpg")
    listed = [(f"p{n % 3:03d}", path.split("/")[2], path.split("/")[3]) for n, path in enumerate(train)]
    rows = [[name, *[0.1] * 10] for name in ids("img_{number}.jpg", 4, first=900)]
    return {
        **train,
        **flat("imgs/test/img_{number}.jpg", TEST_LABELS, first=900),
        "driver_imgs_list.csv": table("subject,classname,img", listed),
        "sample_submission.csv": table(",".join(["img", *DRIVER_CLASSES]), rows),
    }


DISEASES = ("Blight", "Brown Streak", "Green Mottle", "Mosaic", "Healthy")


def cassava() -> Files:
    """cassava-leaf-disease-classification: TFRecords of the same photos beside them, and a map of names."""
    labels, train = mixed(5), flat("train_images/{number}.jpg", mixed(5), first=1000)
    listed = [(path.split("/")[1], label) for path, label in zip(train, labels, strict=True)]
    test = flat("test_images/{number}.jpg", [0], first=2216)
    records_of: list[Record] = [
        {"image": train[f"train_images/{i}"], "image_name": i.encode(), "target": k} for i, k in listed
    ]
    names = {str(label): f"Cassava {name}" for label, name in enumerate(DISEASES)}
    return {
        **train,
        **test,
        "train_tfrecords/ld_train00-30.tfrec": tfrecord(records_of),
        "test_tfrecords/ld_test00-1.tfrec": tfrecord([{"image": next(iter(test.values())), "image_name": b"2216.jpg"}]),
        "train.csv": table("image_id,label", listed),
        "label_num_to_disease_map.json": json.dumps(names).encode(),
        "sample_submission.csv": table("image_id,label", [("2216.jpg", 4)]),
    }


def petals() -> Files:
    """tpu-getting-started: nothing but TFRecords, in several resolutions."""
    files = {"sample_submission.csv": table("id,label", [(f"t{n}", 0) for n in range(4)])}
    for side in (192, 224):
        where, size = f"tfrecords-jpeg-{side}x{side}", (side // 4 // 8 * 8, side // 4 // 8 * 8)
        labelled: list[Record] = [
            {"image": photo(k, n, size=size), "id": b"p%d" % n, "class": k} for n, k in enumerate(mixed(4, per_class=8))
        ]
        test: list[Record] = [
            {"image": photo(k, 900 + n, size=size), "id": b"t%d" % n} for n, k in enumerate(TEST_LABELS)
        ]
        files[f"{where}/train/00-{side}x{side}-12.tfrec"] = tfrecord(labelled[:12])
        files[f"{where}/train/01-{side}x{side}-12.tfrec"] = tfrecord(labelled[12:24])
        files[f"{where}/val/00-{side}x{side}-8.tfrec"] = tfrecord(labelled[24:])
        files[f"{where}/test/00-{side}x{side}-4.tfrec"] = tfrecord(test)
    return files


RICE = ("bacterial_leaf_blight", "blast", "normal", "tungro")


def paddy() -> Files:
    """paddy-disease-classification: class folders and a list with more columns; the sample's labels are empty."""
    train = folders(RICE, "train_images/{name}/{number}.jpg", first=100_001)
    listed = [(p.split("/")[2], p.split("/")[1], ("ADT45", "Ponni")[n % 2], 45 + n) for n, p in enumerate(train)]
    tests = ids("{number}.jpg", 4, first=200_001)
    return {
        **train,
        **flat("test_images/{number}.jpg", TEST_LABELS, first=200_001),
        "train.csv": table("image_id,label,variety,age", listed),
        "sample_submission.csv": table("image_id,label", [(name, "") for name in tests]),
    }


SEEDLINGS = ("Black-grass", "Charlock", "Common wheat", "Sugar beet")


def seedlings() -> Files:
    """plant-seedlings-classification: class folders, PNG, no list."""
    tests = ids("{number:04x}.png", 4, first=900)
    return {
        **folders(SEEDLINGS, "train/{name}/{number:04x}.png"),
        **flat("test/{number:04x}.png", TEST_LABELS, first=900),
        "sample_submission.csv": table("file,species", [(name, "Sugar beet") for name in tests]),
    }


def cats_and_dogs() -> Files:
    """dogs-vs-cats-redux-kernels-edition: the class stands in the file's name."""
    train = {f"train/{name}.{n}.jpg": photo(label, n) for label, name in enumerate(("cat", "dog")) for n in range(12)}
    return {
        "train.zip": zipped(train),
        "test.zip": zipped(flat("test/{number}.jpg", TEST_LABELS, first=1)),
        "sample_submission.csv": table("id,label", [(n, 0.5) for n in range(1, 5)]),
    }


def retina() -> Files:
    """aptos2019-blindness-detection: grades 0 to 4, a list of the test photos beside the sample."""
    labels = mixed(5)
    listed = [(f"{n:06x}", label) for n, label in enumerate(labels)]
    tests = ids("{number:06x}", 4, first=900)
    return {
        **flat("train_images/{number:06x}.png", labels),
        **flat("test_images/{number:06x}.png", TEST_LABELS, first=900),
        "train.csv": table("id_code,diagnosis", listed),
        "test.csv": table("id_code", [(i,) for i in tests]),
        "sample_submission.csv": table("id_code,diagnosis", [(i, 0) for i in tests]),
    }


def histology() -> Files:
    """histopathologic-cancer-detection: TIFF, Ids without extension; the sample says 0 and wants a probability."""
    labels, tests = mixed(2, per_class=12), ids("{number:08x}", 4, first=900)
    return {
        **flat("train/{number:08x}.tif", labels),
        **flat("test/{number:08x}.tif", TEST_LABELS, first=900),
        "train_labels.csv": table("id,label", [(f"{n:08x}", label) for n, label in enumerate(labels)]),
        "sample_submission.csv": table("id,label", [(i, 0) for i in tests]),
    }


def cactus() -> Files:
    """aerial-cactus-identification: two zips and a probability of 0.5 in the sample."""
    labels, tests = mixed(2, per_class=12), ids("{number:08x}.jpg", 4, first=900)
    return {
        "train.zip": zipped(flat("train/{number:08x}.jpg", labels)),
        "test.zip": zipped(flat("test/{number:08x}.jpg", TEST_LABELS, first=900)),
        "train.csv": table("id,has_cactus", [(f"{n:08x}.jpg", label) for n, label in enumerate(labels)]),
        "sample_submission.csv": table("id,has_cactus", [(i, 0.5) for i in tests]),
    }


HOTELS = ("11111", "18807", "34314", "36363", "53586", "64314")


def hotels() -> Files:
    """hotel-id-2021-fgvc8: folders of chains, which are not the classes; five answers in a cell."""
    labels = mixed(6)
    listed = [(f"{n:06x}.jpg", n % 4, HOTELS[k], "2017-05-20 09:11:02") for n, k in enumerate(labels)]
    train = {f"train_images/{chain}/{i}": photo(labels[n], n) for n, (i, chain, _, _) in enumerate(listed)}
    tests = ids("{number:06x}.jpg", 4, first=900)
    return {
        **train,
        **flat("test_images/{number:06x}.jpg", TEST_LABELS, first=900),
        "train.csv": table("image,chain,hotel_id,timestamp", listed),
        "sample_submission.csv": table("image,hotel_id", [(i, " ".join(HOTELS[1:])) for i in tests]),
    }


WHALES = ("new_whale", "w_1287fbc", "w_98baff9", "w_7554f44", "w_1eafe46", "w_a0f5a11")


def whales() -> Files:
    """whale-categorization-playground: the column called Id holds the labels."""
    names, labels = sorted(WHALES), mixed(6)
    listed = [(f"{n:08x}.jpg", names[label]) for n, label in enumerate(labels)]
    tests = ids("{number:08x}.jpg", 4, first=900)
    return {
        **flat("train/{number:08x}.jpg", labels),
        **flat("test/{number:08x}.jpg", TEST_LABELS, first=900),
        "train.csv": table("Image,Id", listed),
        "sample_submission.csv": table("Image,Id", [(i, " ".join(WHALES[:5])) for i in tests]),
    }


ANIMALS = (0, 3, 8, 13)


def wildcam() -> Files:
    """iwildcam-2019-fgvc6: a wide list in which two columns name the photos; the sample calls the label Predicted."""
    header = (
        "category_id,date_captured,file_name,frame_num,id,location,rights_holder,seq_id,seq_num_frames,width,height"
    )
    stems = [f"{n:04x}-23d2" for n in range(24)]
    rows = [
        (ANIMALS[n % 4], "2011-05-13 23:43:18", f"{stem}.jpg", 1 + n % 3, stem, n % 5, "JM", f"q{n // 3}", 3, 48, 40)
        for n, stem in enumerate(stems)
    ]
    tests = ids("{number:04x}-51f0", 4, first=900)
    test_rows = [("2012-03-02", f"{i}.jpg", 1, i, 7, "EH", f"r{n}", 1, 48, 40) for n, i in enumerate(tests)]
    return {
        **{f"train_images/{stem}.jpg": photo(n % 4, n) for n, stem in enumerate(stems)},
        **flat("test_images/{number:04x}-51f0.jpg", TEST_LABELS, first=900),
        "train.csv": table(header, rows),
        "test.csv": table(header.partition(",")[2], test_rows),
        "sample_submission.csv": table("Id,Predicted", [(i, 0) for i in tests]),
    }


LEAVES = ("complex", "frog_eye_leaf_spot", "healthy", "scab", "scab frog_eye_leaf_spot")


def apples() -> Files:
    """plant-pathology-2021-fgvc8: the label is a set of words."""
    labels = mixed(5)
    listed = [(f"{n:06x}.jpg", LEAVES[label]) for n, label in enumerate(labels)]
    tests = ids("{number:06x}.jpg", 4, first=900)
    return {
        **flat("train_images/{number:06x}.jpg", labels),
        **flat("test_images/{number:06x}.jpg", TEST_LABELS, first=900),
        "train.csv": table("image,labels", listed),
        "sample_submission.csv": table("image,labels", [(i, "healthy") for i in tests]),
    }


def monkeys() -> Files:
    """10-monkey-species: doubled folders, validation instead of test."""
    names = [f"n{n}" for n in range(10)]
    files = folders(names, "training/training/{name}/{name}{number}.jpg")
    files |= folders(names, "validation/validation/{name}/{name}{number}.jpg", first=500, per_class=2)
    return files | {"monkey_labels.txt": b"Label, Latin Name\nn0, alouatta_palliata\n"}


SCENES = ("buildings", "forest", "glacier", "mountain", "sea", "street")


def scenes() -> Files:
    """intel-image-classification: prefixed and doubled folders; seg_pred has no labels."""
    return {
        **folders(SCENES, "seg_train/seg_train/{name}/{number}.jpg"),
        **folders(SCENES, "seg_test/seg_test/{name}/{number}.jpg", first=500, per_class=1),
        **flat("seg_pred/seg_pred/{number}.jpg", TEST_LABELS, first=900),
    }


CELLS = ("Parasitized", "Uninfected")


def malaria() -> Files:
    """cell-images-for-detecting-malaria: all photos twice, once inside a folder of the same name."""
    once = folders(CELLS, "cell_images/{name}/C{number}.png", per_class=12)
    return once | {f"cell_images/{path}": content for path, content in once.items()} | {"cell_images/x/Thumbs.db": b""}


BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")


def birds() -> Files:
    """CUB_200_2011: class folders below images/, beside text files."""
    photos = folders(BIRDS, "CUB_200_2011/images/{name}/{name}_{number:04d}.jpg")
    texts = {f"CUB_200_2011/{name}.txt": b"1 x\n" for name in ("images", "classes", "train_test_split")}
    return photos | texts | {"CUB_200_2011/attributes/attributes.txt": b"1 x\n", "CUB_200_2011/README": b"Birds"}


PLANTS = ("Abies amabilis", "Acer rubrum", "Zinnia peruviana")


def plants() -> Files:
    """herbarium-2022: COCO's JSON names photos, categories and the Ids of the sample, in keys of its own."""
    labels = mixed(3)
    files = {f"train_images/{k:03}/00/{k:05}__{n:03}.jpg": photo(k, n) for n, k in enumerate(labels)}
    kinds = [
        {"category_id": k, "scientificName": name, "family": name.split()[0], "genus": name.split()[0]}
        for k, name in enumerate(PLANTS)
    ]
    images = [
        {"image_id": f"{n:05}__{n:03}", "file_name": path.removeprefix("train_images/"), "license": 0}
        for n, path in enumerate(files)
    ]
    marks = [
        {"genus_id": k + 5, "institution_id": n % 2, "category_id": k, "image_id": images[n]["image_id"]}
        for n, k in enumerate(labels)
    ]
    tests = [(str(n), f"000/{n:03}.jpg") for n in range(4)]
    listed = [{"file_name": path, "image_id": i, "license": 0} for i, path in tests]
    return {
        **files,
        **{f"test_images/{path}": photo(k, 900 + k) for k, (_, path) in enumerate(tests)},
        "train_metadata.json": json.dumps({"annotations": marks, "images": images, "categories": kinds}).encode(),
        "test_metadata.json": json.dumps(listed).encode(),
        "sample_submission.csv": table("Id,Predicted", [(i, 42 % 3) for i, _ in tests]),
    }


TURTLES = ("t_id_2E08mwQx", "t_id_4ZfTUmwL", "t_id_9GFmcOd5", "t_id_Kf59bmAJ", "t_id_ip6COKHB", "t_id_m2JvEcsg")


def turtles() -> Files:
    """Turtle Recall: a column for each of the five likeliest labels; the sample names neither of two columns."""
    labels = mixed(6)
    rows = [(f"ID_{n:04}", ("left", "top", "right")[n % 5 % 3], TURTLES[k]) for n, k in enumerate(labels)]
    tests = ids("ID_{number:04}", 4, first=900)
    return {
        **flat("images/ID_{number:04}.JPG", labels),
        **flat("images/ID_{number:04}.JPG", TEST_LABELS, first=900),
        "train.csv": table("image_id,image_location,turtle_id", rows),
        "test.csv": table("image_id,image_location", [(i, "left") for i in tests]),
        "sample_submission.csv": table(
            ",".join(["image_id", *(f"prediction{n}" for n in range(1, 6))]), [(i, *TURTLES[:5]) for i in tests]
        ),
    }


MODELS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Audi TT RS Coupe 2012")


def car_models() -> Files:
    """Stanford Cars by class folder: lists without a header beside car_data/car_data/{train,test}."""
    train = folders(MODELS, "car_data/car_data/train/{name}/{number:05d}.jpg", first=1)
    listed = [(path.rpartition("/")[2], 1, 2, 40, 30, 1 + MODELS.index(path.split("/")[3])) for path in train]
    return {
        **train,
        **folders(MODELS, "car_data/car_data/test/{name}/{number:05d}.jpg", first=101, per_class=1),
        "anno_train.csv": table("00001.jpg,39,116,569,375,14", listed[1:]),
        "names.csv": table(MODELS[0], [(name,) for name in MODELS[1:]]),
    }


PETS = ("Abyssinian", "american_bulldog", "Bengal", "pug")


def pets() -> Files:
    """Oxford-IIIT pets: the class stands in the file's name, beside masks of the same names."""
    names = sorted(PETS)
    photos = {f"images/{name}_{n}.jpg": photo(k, n) for k, name in enumerate(names) for n in range(PER_CLASS)}
    masks = {path.replace("images/", "annotations/trimaps/").replace(".jpg", ".png"): b"" for path in photos}
    return photos | {path: photo(7, n, kind="PNG") for n, path in enumerate(masks)} | {"annotations/list.txt": b"x"}


COMPETITIONS: tuple[Competition, ...] = (
    Competition("sf-dl-car-classification", cars, evenly(range(10)), ids("{number}.jpg", 4, first=900), "label"),
    Competition("dog-breed-identification", dogs, evenly(BREEDS), ids("{number:04x}b", 4), "probabilities"),
    Competition("state-farm", drivers, evenly(DRIVER_CLASSES), ids("img_{number}.jpg", 4, first=900), "probabilities"),
    Competition(
        "cassava", cassava, evenly(range(5)), ["2216.jpg"], "label", names=tuple(f"Cassava {d}" for d in DISEASES)
    ),
    Competition("tpu-getting-started", petals, evenly(range(4), 8), ["t0", "t1", "t2", "t3"], "label"),
    Competition("paddy-disease", paddy, evenly(RICE), ids("{number}.jpg", 4, first=200_001), "label"),
    Competition("plant-seedlings", seedlings, evenly(SEEDLINGS), ids("{number:04x}.png", 4, first=900), "label"),
    Competition("dogs-vs-cats-redux", cats_and_dogs, evenly(("cat", "dog"), 12), ["1", "2", "3", "4"], "probability"),
    Competition("aptos2019", retina, evenly(range(5)), ids("{number:06x}", 4, first=900), "label"),
    Competition(
        "histopathologic-cancer",
        histology,
        evenly((0, 1), 12),
        ids("{number:08x}", 4, first=900),
        "probability",
        ("--form=probability",),
    ),
    Competition("aerial-cactus", cactus, evenly((0, 1), 12), ids("{number:08x}.jpg", 4, first=900), "probability"),
    Competition("hotel-id-2021", hotels, evenly(HOTELS), ids("{number:06x}.jpg", 4, first=900), "ranking"),
    Competition(
        "whale-categorization", whales, evenly(sorted(WHALES)), ids("{number:08x}.jpg", 4, first=900), "ranking"
    ),
    Competition("iwildcam-2019", wildcam, evenly(ANIMALS), ids("{number:04x}-51f0", 4, first=900), "label"),
    Competition("herbarium-2022", plants, evenly(range(3)), ["0", "1", "2", "3"], "label", names=PLANTS),
    Competition("Turtle Recall", turtles, evenly(TURTLES), ids("ID_{number:04}", 4, first=900), "ranking"),
    Competition("plant-pathology-2021", apples, evenly(LEAVES), ids("{number:06x}.jpg", 4, first=900), "label"),
    Competition("10-monkey-species", monkeys, evenly([f"n{n}" for n in range(10)], PER_CLASS + 2)),
    Competition("intel-scenes", scenes, evenly(SCENES), ids("{number}.jpg", 6, first=500)),
    Competition("malaria", malaria, evenly(CELLS, 12)),
    Competition("CUB-200", birds, evenly(BIRDS)),
    Competition("Stanford Cars", car_models, evenly(MODELS), ids("{number:05d}.jpg", 3, first=101)),
    Competition("Oxford pets", pets, evenly(sorted(PETS)), flags=(r"--label_pattern=(\w+)_\d+",)),
)
