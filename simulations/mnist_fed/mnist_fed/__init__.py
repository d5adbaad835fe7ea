"""Flower app: clients learn a shared quantum router on MNIST."""
