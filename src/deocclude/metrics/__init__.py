"""Metrics: functions of one picture, and averages that have names."""
