"""The one exception whose text is for the user: a single clear line that says what to do. Everything else is a bug."""


class UserError(Exception):
    pass
