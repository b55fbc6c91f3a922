"""Official scoring rules as pure functions of predictions and references."""
