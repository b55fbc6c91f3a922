"""What a schedule costs."""
