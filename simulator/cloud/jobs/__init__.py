"""What AWS IoT Jobs does beyond MiniStack: documents with packages, clock and order, targets and limits."""
