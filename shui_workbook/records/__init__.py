"""Files of results: lines added by key and with their provenance, differences between lines, and their intervals.

The library makes result rows and reads them (`shui_lib.core.rows`); what is done with many of them begins here.
"""

from shui_lib.core.rows import read_rows
from shui_workbook.records.compare import benchmark_rows, form_of, over_seeds, paired_difference
from shui_workbook.records.files import record
