"""One file a model runtime. A URI `runtime:rest` opens `models/<runtime>.py`.

Each module has a pydantic model `Options` and `create(rest: str, options: Options) -> Model`.
"""
