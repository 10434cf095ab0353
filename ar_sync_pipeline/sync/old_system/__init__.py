"""Archives of the old system, taken over as the product's own."""
