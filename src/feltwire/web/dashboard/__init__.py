"""The page: Dash on the service's own application. `mount` in `app.py` is the way in."""
