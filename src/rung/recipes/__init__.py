"""The recipes' TOML files; `rung.training.recipes` reads them."""
