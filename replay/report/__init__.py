"""Reports: one document (`document`), judged by `thresholds`, written as text, JSON, CSV (`table`) or a page (`write`).

`series` makes what is drawn from runs, `pictures` draws it, and `words` says figures as people read them.
"""
