"""A sum that the server learns without learning what it is the sum of.

Every client shares its vector among a committee of clients (Shamir, 1979); the members add the
shares of the survivors; the server opens the sum of these sums, and nothing else. A client that is
late or dead is not in the sum; nothing has to be unmasked for it. Relatives: FastSecAgg (Kadhe et
al., arXiv:2009.11248) and DisAgg (arXiv:2605.13708).

The server learns the sum and who is in it. Two sums that differ in one client show its vector, so
this is no differential privacy; and whoever may send a vector may send a wrong one. Clients on one
host trust each other. What can be learnt from how long a host takes is not hidden.

A vector of d numbers is m · (7 d + 16) bytes on its way up, so d is meant to be at most 500 for
thousands of clients, and may be thousands for fifty.
"""
