"""Settings of both sides: values, models, and loading from the environment."""
