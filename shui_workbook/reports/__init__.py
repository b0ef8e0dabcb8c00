"""From committed rows to what is read: tables, the paper's claims with verdicts, pages.

Nothing here trains or predicts.
"""
