"""Attacks on privacy mechanisms: plain functions that say what still leaks.

``epsilon`` measures a lower bound of ε with canaries, ``property`` what updates say about a
client's labels, ``inversion`` which samples they were made of, ``membership`` whose. ``views``
makes what an attacker sees, with the code that runs a federation. Nothing is found where there is
nothing: each attack has a test of that, and broken mechanisms that it must catch.
"""
