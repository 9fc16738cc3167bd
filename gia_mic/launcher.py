"""Turns the command `mer` into a call of `cli.main`, wherever the rooms lie."""


def main() -> None:
    """Run the `mer` command line; importing this package has already put the rooms on `sys.path`."""
    from cli import main as run

    run()
