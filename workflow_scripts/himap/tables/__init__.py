"""Tables: records from results, notes under them, and their printed forms."""
