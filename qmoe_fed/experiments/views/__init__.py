"""What becomes of rows: tables, comparisons with published numbers, pictures."""
