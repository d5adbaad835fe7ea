"""Federated learning of a shared quantum router over private experts.

The floors, each usable without those above it:
``circuits`` → ``models`` → ``data`` → ``learning`` → ``federated`` → ``results``.
"""
