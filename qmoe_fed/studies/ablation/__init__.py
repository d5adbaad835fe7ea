"""The ablation of the paper on one client: A/B/C, controls, parameter efficiency, training."""
