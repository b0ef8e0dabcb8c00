"""Learning to Unlearn (Huang, Foo, Liu, ECCV 2024), the workbook's second system."""
