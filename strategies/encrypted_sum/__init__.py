"""A sum of what clients send encrypted, which the server makes without the key (TenSEAL).

One client makes a key pair and hands it to the others through the server, which cannot read it: the
public key to all, or, if ``key-client = -1``, the secret one. The server adds ciphertexts and has
the sum opened by who has the secret key. **Whoever has it can read every ciphertext**: a key client
that works with the server sees every client's row, and where all have the key, any of them does.
"""
