"""Cross-validation by source: what a recipe is worth on sources that its nets never saw."""
