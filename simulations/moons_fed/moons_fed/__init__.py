"""Flower app: clients learn a shared quantum router on Two Moons."""
