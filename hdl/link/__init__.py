"""The chip-to-chip link: go-back-N replay over lanes that train themselves. Specified in ``docs/link.md``."""
