"""One engine for studies: a grid of cells → tidy rows → views.

A cell is one job that fits all seeds at once; a row is one fit: its factors, its seed, what was
measured. ``engine`` runs cells and keeps their rows on disk, ``measures`` are what a cell can do,
``views`` turn rows into tables and pictures. The studies themselves stand in ``simulations/``.
"""
