"""Reports: one document, as JSON, CSV, text or a page with pictures."""
