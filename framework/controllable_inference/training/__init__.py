"""Trains the embedded nano reasoner, and the gate and budget predictor of any checkpoint's control.json."""
