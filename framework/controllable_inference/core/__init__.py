"""The control core, which knows no engine: what controllers see and say, gate, budget, policy, vote."""
