"""A trained run as a page in a browser; `server` serves what `page` lays out and `view` and `live` fill."""
