"""What a check of a database finds: rights, schemas, rules, and what cannot be replicated."""
