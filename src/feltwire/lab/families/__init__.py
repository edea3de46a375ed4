"""One module a family of models; each keeps to `lab.interfaces.Family`. A module hides by a leading underscore."""
