"""1-SHUI, thin: what a chapter or a command is made of stands in `shui_workbook`, which this never imports."""
