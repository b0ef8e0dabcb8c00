"""What everything stands on: files and stages on disk, result rows, names, progress, randomness, arguments.

It knows nothing of faces or methods; importing it loads no torch.
"""
