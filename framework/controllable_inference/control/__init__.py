"""Keeping a model's thinking under control: gate, budget, features, vote, controllers."""
