"""Archive members to receiver rows: staging, differences, the plan, writing, verification."""
