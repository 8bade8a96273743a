"""What several objectives share: losses, heads, momentum copies, queues, synchronised normalisation."""
