"""``builtin:transapp``: what TranSappViz computes from TranSapp's rows, in seven rules."""
