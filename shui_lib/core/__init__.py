"""What everything stands on: files and stages on disk, the schema of result rows, names, progress, randomness.

It knows nothing of faces or methods; importing it loads no torch.
"""

from shui_lib.core.names import parse, reference_of
from shui_lib.core.rows import make_rows
