"""Flower app: clients learn a shared quantum router on Fashion-MNIST."""
