"""The terminal: one module per command, named like the stage that it runs. Installed as abcrl_cli.

Only this room prints. It imports the stages inside functions, so that `--help` costs no torch.
"""
