"""Makes control.json: record a model at work, label, split, train gate, budget and policy, calibrate."""
