"""Files of results: rows read and checked, lines added by key and with their provenance, differences between lines.

The library makes result rows (`shui_lib.core.rows`); what is done with many of them begins here.
"""

from shui_workbook.records.compare import benchmark_rows, form_of, interval, over_seeds, paired_difference
from shui_workbook.records.files import read_rows, record
