"""The embedded world: small pictures with known content, questions about them, and the small model trained on them."""
