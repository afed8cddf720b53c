"""Checks that every run makes: one function for each finding."""
