"""JupyterLab without a mark of change on a chapter that was only opened.

Lab writes into every notebook which Python it runs, and so takes it for changed. Here a notebook that is read says just
that already, and one that is saved leaves it out again: nothing of the machine is committed. `make lab` uses it.
"""

from __future__ import annotations

from ipykernel.ipkernel import IPythonKernel
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from shui_workbook.course.notebooks import KERNEL


def of_this_python() -> dict[str, object]:
    """The metadata that Lab would write into a notebook."""
    try:
        shown = KernelSpecManager().get_kernel_spec(KERNEL["name"]).display_name
    except NoSuchKernel:
        shown = KERNEL["display_name"]
    return {"kernelspec": {**KERNEL, "display_name": shown}, "language_info": IPythonKernel.language_info}


class Contents(AsyncLargeFileManager):
    """Notebooks that say which Python they run on as long as they are open, and not in their file."""

    async def get(self, path: str, content: bool = True, *args: object, **how: object) -> dict[str, object]:
        """A file or folder; a notebook with the metadata of this Python."""
        model = await super().get(path, content, *args, **how)
        if content and model["type"] == "notebook":
            model["content"]["metadata"] |= of_this_python()
        return model

    async def save(self, model: dict[str, object], path: str = "") -> dict[str, object]:
        """Save a file; a notebook without it."""
        if model.get("type") == "notebook" and model.get("content"):
            metadata = {**model["content"]["metadata"], "kernelspec": KERNEL, "language_info": {"name": "python"}}
            model = {**model, "content": {**model["content"], "metadata": metadata}}
        return await super().save(model, path)
