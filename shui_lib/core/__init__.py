"""What everything stands on: files and stages on disk, result rows, names, progress, randomness, arguments.

It knows nothing of faces or methods; importing it loads no torch.
"""

from shui_lib.core.names import parse, reference_of
from shui_lib.core.rows import check_rows, make_rows, read_rows
