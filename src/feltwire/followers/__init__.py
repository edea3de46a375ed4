"""One file a destination. A URI `kind:rest?option=value` opens `followers/<kind>.py`.

Each module has a pydantic model `Options` and `create(rest: str, options: Options) -> Follower`.
"""
