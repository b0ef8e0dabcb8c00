"""Many runs of the notebooks on many workers: the grid, one run, the cluster, what it costs.

Command: `python -m shui_workbook.sweep.grid`.
"""
