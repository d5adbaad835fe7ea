"""What noise does to a quantum router (paper, section VI-C), with spreads and every reading."""
