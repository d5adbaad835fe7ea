"""Circuits under noise: channels in the list of operations, and engines that run them exactly."""
