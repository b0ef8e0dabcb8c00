"""A notebook that is opened and saved in JupyterLab is the same file as before."""

import asyncio
import json
import sys

from shui_workbook.course.contents import Contents
from shui_workbook.course.notebooks import NOTEBOOKS


def test_a_notebook_names_this_python_while_it_is_open_and_its_file_does_not(tmp_path):
    chapter = NOTEBOOKS / "00_start_here.ipynb"
    (tmp_path / "a.ipynb").write_text(chapter.read_text())
    manager = Contents(root_dir=str(tmp_path))

    async def there_and_back():
        model = await manager.get("a.ipynb")
        await manager.save({"type": "notebook", "content": model["content"]}, "a.ipynb")
        return model

    model = asyncio.run(there_and_back())
    seen = model["content"]["metadata"]
    assert seen["language_info"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert seen["kernelspec"]["name"] == "python3"
    assert json.loads((tmp_path / "a.ipynb").read_text()) == json.loads(chapter.read_text())
