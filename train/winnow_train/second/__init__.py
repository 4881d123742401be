"""Fitting and cross-validating the second stage of a bundle: docs/second-stage.md."""
