"""YAML documents with the line of every value, and shapes that check and describe them.

`yaml_reader` turns text into `nodes`. A shape (`scalars`, `containers`) reads a node into plain
Python values, adds what is wrong to `problems`, each with file, line and column, and describes
itself as JSON Schema:

    PORT = Record(Port, "A port.", (Key("port", Integer(1, 65535), "Its number.", required=True),))
    problems = Problems()
    node = parse_document(b"port: 443", "port.yaml", problems)
    port = None if node is None else PORT.read(node, ReadContext(problems))
    problems.raise_if_any()  # ManifestError: every problem, sorted by place

It knows nothing of minbuild but its errors.
"""
