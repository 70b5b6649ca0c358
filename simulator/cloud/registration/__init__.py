"""Registration of things by templates, one at a time and in bulk."""
