"""Is it worth sharing a router? The same tasks under every way of sharing a mixture."""
