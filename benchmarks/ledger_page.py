"""Writes the figures of the ledger as a page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from held_out import compare_right
from ledger_rows import ROWS, Row

from carclf.files import write_atomically
from carclf.framing import parse_image_size
from carclf.inference.metrics import wilson_interval

SIGNIFICANT = 0.05
LEFT_OUT = "## Tried and left out\n"  # the last section, written by hand
HEAD = """# What improves accuracy, and what it costs

`benchmarks/ledger.py` trains one row after the other on the same folds, and wrote this page. Each row repeats the row
it is compared with and changes one thing: a flag file of `stages/ledger`. All rows are screened on one fold of small
images; those that matter are confirmed at the backbone's own size. The interval is Wilson's, at 95 %, over the pooled
held-out photos; `p` is McNemar's exact test on the same photos, and an effect with p above 0.05 is called noise. The
seconds of a row are those of all its stages, means over the folds, on the machine that measured it.

"""
# The rows of the summary, with what a reader calls them who has not read the tables.
SUMMARY = {
    "probe": "logistic regression on frozen features",
    "notebook": "recipe of the 2020 notebook",
    "third": "a third of its time",
    "best": "the same time",
    "whole": "and four epochs on larger images, predicting mirror images too",
}
COLUMNS = "| row | change | accuracy | 95 % | against | photos fixed, broken | p | seconds |\n" + "| --- " * 8 + "|\n"


def write_page(path: Path, figures: Sequence[Mapping[str, Any]], *, note: str = "") -> None:
    """Writes a table for each data set, backbone and size, after the note; a last section written by hand is kept.

    Tables of large images come first.
    """
    keys = ("data", "backbone", "image_size")
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for figure in sorted(figures, key=lambda one: parse_image_size(one["image_size"]), reverse=True):
        groups.setdefault(tuple(figure[key] for key in keys), []).append(figure)
    parts = [summary(groups)]
    parts += [f"## {data}, {backbone}, {size} px\n\n{table(rows)}" for (data, backbone, size), rows in groups.items()]
    parts += [left_out] if (left_out := by_hand(path)) else []
    write_atomically(path, (HEAD + f"{note}\n\n" * bool(note) + "\n".join(parts)).encode())


def summary(groups: Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]]) -> str:
    """Returns a table of a few rows of each data set, backbone and size: their accuracy and seconds."""
    lines = ["## In short", "", f"| | {' | '.join(SUMMARY.values())} |", "| --- " * (1 + len(SUMMARY)) + "|"]
    for (data, backbone, size), figures in groups.items():
        cells = [f"{data}, {backbone}, {size} px"]
        for name in SUMMARY:
            cases = [one for one in figures if one["row"] == name]
            cells.append(f"{pooled(cases)[0]:.3f} in {mean_seconds(cases):.0f} s" if cases else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def by_hand(path: Path) -> str:
    """Returns what was tried and left out, from the page as it is, '' if there is no such section."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    _, title, section = text.partition(LEFT_OUT)
    return title + section


def table(figures: Sequence[Mapping[str, Any]], *, rows: Sequence[Row] = ROWS) -> str:
    """Returns the rows of one data set, backbone and size."""
    measured = {row.name: [one for one in figures if one["row"] == row.name] for row in rows}
    photos = max(sum(len(one["right"]) for one in cases) for cases in measured.values())
    folds = sorted({one["fold"] for one in figures})
    said = f"{photos} held-out photos, folds {', '.join(map(str, folds))}.\n\n"
    return said + COLUMNS + "".join(lines(measured, rows, folds=folds))


def lines(
    measured: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[Row], *, folds: Sequence[int]
) -> Iterator[str]:
    """Yields the line of each row that was measured; one that was not on all of the folds says on which."""
    for row in rows:
        if cases := measured[row.name]:
            own = sorted({one["fold"] for one in cases})
            where = "" if own == folds else f" (only fold{'s' * (len(own) > 1)} {', '.join(map(str, own))})"
            accuracy, low, high = pooled(cases)
            cells = [
                f"`{row.name}`",
                f"{row.change}{where}",
                f"{accuracy:.3f}",
                f"{low:.2f}–{high:.2f}",
            ]
            cells += [*comparison(row, measured), f"{mean_seconds(cases):.0f}"]
            yield f"| {' | '.join(cells)} |\n"


def pooled(cases: Sequence[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Returns the accuracy over the photos of all cases, and its 95 % interval."""
    right = "".join(one["right"] for one in cases)
    return right.count("1") / len(right), *wilson_interval(right.count("1"), len(right))


def mean_seconds(cases: Sequence[Mapping[str, Any]]) -> float:
    """Returns the mean duration of a row's trainings."""
    return float(sum(one["seconds"] for one in cases)) / len(cases)


def comparison(row: Row, measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[str, str, str]:
    """Returns what the row is compared with, the photos it fixed and broke, and McNemar's p, over the cases of both."""
    pairs = [(one, other) for one in measured[row.name] for other in measured.get(row.against, ()) if same(one, other)]
    if not pairs:
        return "–", "–", "–"
    ours, theirs = ("".join(pair[side]["right"] for pair in pairs) for side in (0, 1))
    found = compare_right([one == "1" for one in ours], [one == "1" for one in theirs])
    return (
        f"`{row.against}`",
        f"+{found.fixed} −{found.broken}",
        f"{found.p_value:.2g}" + ", noise" * (found.p_value > SIGNIFICANT),
    )


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether two measurements are of the same fold and seed."""
    return bool(one["fold"] == other["fold"] and one["seed"] == other["seed"])
