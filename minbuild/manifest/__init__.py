"""Manifests: from YAML files to one checked `model.Manifest`.

`loader.read_manifest` does all of it: `extends` merges files, `components` finds components,
`variables` and `templates` render texts, `build_model` builds the model. `grammar` defines every
key, for the reader and for the JSON Schema; `document` reads YAML.
"""
