"""Commands that train nothing.

They have to be imported by name (`abcrl.tools.credit`): each pays for what it alone needs.
"""
