"""Centralized studies: what a model can do before it is federated, with the evidence."""
