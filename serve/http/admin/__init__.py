"""The administration API: tenants, keys, budgets, what they used, and what the gateway is made of."""
