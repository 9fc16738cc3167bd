"""Turns the command `mer` into a call of `cli.main`, wherever the rooms lie."""


def main() -> None:
    """Run the `mer` command line."""
    import gia_mic  # noqa: F401, PLC0415  (puts the rooms on sys.path)
    from cli import main as run

    run()
