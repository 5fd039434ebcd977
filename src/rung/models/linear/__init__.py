"""Linear models of what a text holds, whatever the order: features, and a weight a feature and label."""
