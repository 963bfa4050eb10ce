"""The configuration: YAML in, a frozen and checked `Config` out, and every error with its file, line and key.

- `load`: the way in. `load(path)` reads a file, `parse(text)` the pure rest of it; `check_files` opens what it names.
- `model`: `Config` and all its parts by name (`server`, `cluster`, `route` and `envoy` hold them).
- `planes`: what only one of the data planes can do.
- `topology`: from a Config to slots and to `adaptive.types.Topology`; the hash of a Config.
- `schema`: JSON Schema for editors.
- `document` (YAML with lines), `environment` (`${NAME}`), `checks` (references), `budgets` (limits that
  contradict each other), `explain` (errors in words), `errors`.
- `files` opens what a configuration names; `suggest` guesses what a misspelt key meant.
- `base`, `units`, `address`, `pattern`: the kinds of value.
"""
