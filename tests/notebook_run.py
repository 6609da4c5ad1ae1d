"""Runs the notebooks of notebooks/ with some of their parameters changed."""

import ast
from pathlib import Path

import nbformat


def parameter_cell(notebook) -> int:
    (number,) = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    return number


def parameters(notebook) -> dict[str, object]:
    assignments = ast.parse(notebook.cells[parameter_cell(notebook)].source).body
    return {line.targets[0].id: ast.literal_eval(line.value) for line in assignments}


def execute(path: Path, *, folder: Path, **changed: object) -> str:
    """Runs the notebook with some parameters changed; returns what its cells print."""
    from nbclient import NotebookClient  # imports Colab's jupyter_client, which Python 3.13 warns of

    notebook = nbformat.read(path, as_version=4)
    assert set(changed) <= set(parameters(notebook))
    lines = "\n".join(f"{name} = {value!r}" for name, value in changed.items())
    notebook.cells.insert(parameter_cell(notebook) + 1, nbformat.v4.new_code_cell(lines))
    done = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
    streams = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in streams if output.output_type == "stream")
