"""What is wrong with data: a file, a row or a field."""

from tooln1.errors import UserError


class DataError(UserError):
    """Raised for a mistake in data. The message names file, row and field, and says what was expected."""
