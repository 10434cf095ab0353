"""``builtin:transapp``: the seven rules that compute TranSappViz's results."""
