"""What the paper prints: the only home of its numbers."""
