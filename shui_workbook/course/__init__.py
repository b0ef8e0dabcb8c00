"""The course as a thing that runs: executing chapters, cutting and marking exercises, explorer, laboratory, page.

Commands: `python -m shui_workbook.course.notebooks`, `… .exercises`, `… .app`.
"""
