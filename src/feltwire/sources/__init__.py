"""One file a source. A URI `scheme:rest?option=value` opens `sources/<scheme>.py`.

Each module has a pydantic model `Options` (its fields are the URI's query options and the keys of a `[[sources]]`
table, each with a description) and `create(rest: str, options: Options) -> Source`.
"""
